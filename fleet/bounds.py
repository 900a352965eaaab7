"""Limit request bodies of the operator server: Django spools a whole body before it authenticates the client."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable

from asgiref.sync import sync_to_async

from fleet.refusals import KINDS, PROBLEM_TYPE, problem_document
from fleet.wire import limits, rates
from fleet.wire.asgi import Message, Receive, Scope, Send
from fleet.wire.bodies import BodyError, BodyPace
from fleet.wire.networks import Trusted, network_of
from fleet.wire.rates import Rates

App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: maps the Authorization and Cookie headers to a user name, or to an empty string
Who = Callable[[str, str], str]

#: longest body without a valid token or session; the sign-in form is shorter
STRANGER = 64 << 10
#: longest body of anything but an upload; Django's in-memory limit is lower
USUAL = 2 << 20
#: bytes that multipart/form-data and `bundle.json` add to the files
AROUND = 4 << 20
#: long bodies accepted at the same time, in total and per person; each one uses twice its
#: length
MOST_UPLOADS, MOST_OF_PERSON = 8, 2
#: longest time for a whole body, in seconds; pauses and minimum speed are the same as for every listener
WHOLE_S = 3600.0
_UPLOADS = {"/bundles", "/api/v1/bundles"}
#: public and the same for all users, so caches may store it
_STATIC = "/static/"
#: polled often, by monitors on this machine
_HEALTH = {"/healthz", "/readyz", "/metrics"}


class Bounded:
    """An ASGI application with limits on its requests.

    Args:
        app: the application behind the limits.
        upload: longest upload in bytes, without the multipart overhead.
        who: returns the user name for valid credentials; runs in a thread.
        strangers: unauthenticated requests per minute that one network may make; 0 means no limit.
        proxies: proxies that are trusted to report a client's address.
    """

    def __init__(self, app: App, upload: int, who: Who, strangers: float = 0.0, proxies: tuple[str, ...] = ()) -> None:
        self._app, self._upload, self._who = app, upload + AROUND, who
        self._rates, self._trusted = Rates(0, strangers), Trusted(proxies)
        self._places: Counter[str] = Counter()
        self._checking: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject requests that are too frequent, too long or too slow with a reason, as early as possible."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connected = scope.get("client") or ("", 0)
        address = self._trusted.client_of(connected[0], scope["headers"])
        proof: dict[str, bool] = {}
        scope = {**scope, "client": (address, connected[1]), "muster.proof": proof}
        answer = _Answer(send, scope["path"])
        caller = _Caller(scope, self._who)
        if scope["path"] not in _HEALTH and await self._refuses(caller, address):
            wait = str(self._rates.wait("", address) or 1)
            await answer.refuse(429, rates.DETAIL, {b"retry-after": wait.encode()})
            _hold(scope)
            return
        try:
            await self._answered(scope, receive, answer, caller)
        finally:
            if scope["path"] not in _HEALTH:
                safe = scope["method"] in {"GET", "HEAD"}
                # A client that disconnects early counts too; if the method is not safe, like a failed request.
                status = answer.status or (200 if safe else 400)
                self._rates.answered("", address, status, proved=bool(proof), safe=safe)

    async def _refuses(self, caller: "_Caller", address: str) -> bool:
        """Return whether a network exceeds its rate and the request has no valid credentials; one check at a time."""
        network = network_of(address)
        if not self._rates.wait("", address):
            return False
        if not caller.shows or network in self._checking:
            return True
        self._checking.add(network)
        try:
            return not await caller.name()
        finally:
            self._checking.discard(network)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer", caller: "_Caller") -> None:
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") in _UPLOADS
        limit = self._upload if is_upload else USUAL
        body = _Body(receive, limit, self._places, caller)
        try:
            await body.expect(_declared(scope))
            await self._app(scope, body.receive, answer.send)
        except BodyError as error:
            body.error = error
        finally:
            body.close()
        if body.error is not None and body.error.status and not answer.status:
            status = body.error.status
            fields = {b"retry-after": b"60"} if status == 503 else {}  # noqa: PLR2004  because it is unavailable
            fields |= {b"www-authenticate": b'Bearer realm="muster"'} if status == 401 else {}  # noqa: PLR2004  because RFC 9110, 15.5.2 requires it
            await answer.refuse(status, body.error.detail, {**fields, b"connection": b"close"})


class _Caller:
    """The sender of a request, authenticated at most once, and only when needed."""

    def __init__(self, scope: Scope, who: Who) -> None:
        fields = {name: value.decode("latin-1") for name, value in scope["headers"]}
        self._given = fields.get(b"authorization", ""), fields.get(b"cookie", "")
        self._who, self._name = who, ""
        self._asked = False

    @property
    def shows(self) -> bool:
        """Return whether there are credentials to check."""
        return any(self._given)

    async def name(self) -> str:
        """Return the user name, or an empty string."""
        if not self._asked and self.shows:
            self._name = await sync_to_async(self._who, thread_sensitive=False)(*self._given)
        self._asked = True
        return self._name


class _Body:
    """A request body that is received: counted, limited in time, and long only for authenticated senders.

    Args:
        receive: returns its pieces.
        limit: longest body in bytes.
        places: long bodies that each person is sending now.
        caller: the sender.
    """

    def __init__(self, receive: Receive, limit: int, places: Counter[str], caller: _Caller) -> None:
        self._receive, self._limit, self._places, self._caller = receive, limit, places, caller
        self._pace, self._whole, self._placed = BodyPace(WHOLE_S), False, ""
        self.error: BodyError | None = None

    async def receive(self) -> Message:
        """Return the next piece, or a disconnect message, which also reports a rejected body."""
        if self._whole:
            return await self._receive()  # only the disconnect message follows
        try:
            message = await self._pace.next_piece(self._receive)
            self._whole = not message.get("more_body", False)
            await self.expect(self._pace.came)
        except BodyError as error:
            self.error = error
            return {"type": "http.disconnect"}
        return message

    async def expect(self, length: int) -> None:
        """Reject a body of this length if it is not permitted.

        Raises:
            BodyError: too long (413), not authenticated (401), or too many at the same time (503).
        """
        if length > self._limit:
            msg = f"The body is too large. The limit for this request is {self._limit >> 20} MB."
            raise BodyError(413, msg)
        if length > STRANGER and not await self._caller.name():
            msg = f"A body of more than {STRANGER >> 10} KB requires an API token or a session. Sign in first."
            raise BodyError(401, msg)
        if self._pace.came > USUAL and not self._placed:
            await self._take_place()

    async def _take_place(self) -> None:
        name = await self._caller.name()
        if self._places[name] >= MOST_OF_PERSON:
            msg = f"You already have {MOST_OF_PERSON} uploads in progress. Wait until one of them ends."
            raise BodyError(503, msg)
        if self._places.total() >= MOST_UPLOADS:
            msg = "Too many uploads are in progress on this server. Try again in a minute."
            raise BodyError(503, msg)
        self._places[name] += 1
        self._placed = name

    def close(self) -> None:
        """Release the upload slot."""
        if self._placed:
            self._places[self._placed] -= 1
            self._places += Counter()  # removes people without uploads
            self._placed = ""


class _Answer:
    """The response: caches must not store it unless it is a static file."""

    def __init__(self, send: Send, path: str) -> None:
        self._send, self._kept, self.status = send, path.startswith(_STATIC), 0

    async def send(self, message: Message) -> None:
        """Forward an ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self._kept:
                fields = [header for header in message.get("headers", ()) if header[0].lower() != b"cache-control"]
                message = {**message, "headers": [*fields, (b"cache-control", b"no-store")]}
        await self._send(message)

    async def refuse(self, status: int, detail: str, fields: dict[bytes, bytes]) -> None:
        """Answer with a problem document (RFC 9457)."""
        body = json.dumps(problem_document(status, KINDS[status], detail)).encode()
        headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *fields.items()]})
        await self.send({"type": "http.response.body", "body": body})


def _declared(scope: Message) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def _hold(scope: Scope) -> None:
    """Stop reading from a rejected client for a moment."""
    connection = scope.get("extensions", {}).get("muster.connection")
    if connection:
        asyncio.get_running_loop().call_soon(connection["hold"], limits.HOLD_SECONDS)
