"""The CRL/OCSP responder: revocation lists, OCSP and CA certificates over plain HTTP, without authentication.

Everything is signed and public. RFC 5280 requires access without TLS, because TLS clients need it to verify peers.
"""

import asyncio
import base64
import binascii
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import TypeVar
from urllib.parse import unquote

from django.conf import settings
from django.db import close_old_connections

from fleet.wire import limits, rates
from fleet.wire.asgi import Receive, Scope, Send
from fleet.wire.bodies import BodyError, read_body
from fleet.wire.networks import Trusted
from fleet.wire.rates import Rates
from pki import ocsp, selectors
from pki.services import crls
from pki.services.responders import OcspAnswer, Responders

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")
Response = tuple[int, dict[str, str], bytes]

_CRL = re.compile(r"/crl/([0-9a-f]{40})/([0-9a-f]{2})\.crl")
_CA = re.compile(r"/ca/([0-9a-f]{40})\.cer")
READ = frozenset({"GET", "HEAD"})
NOT_FOUND = (
    b"There is nothing at this path. CRLs are at /crl/KEY_ID/SHARD.crl, CA certificates at /ca/KEY_ID.cer, "
    b"and the OCSP responder is at /ocsp.\n"
)
BUSY = b"Too many requests wait for an answer. Try again after the seconds in Retry-After.\n"
OCSP_RESPONSE = "application/ocsp-response"
TEXT = {"content-type": "text/plain; charset=utf-8"}
#: seconds that caches may keep a CRL: the longest delay of a revocation for parties that rely on CRLs only
CRL_CACHE_SECONDS = 300
OCSP_CACHE_SECONDS = 600
THREADS = 2
#: most requests that wait for a thread; each takes milliseconds
MOST_WAITING = 256
#: Retry-After of rejected requests in seconds, with jitter so that they do not return together
COME_AGAIN = (2, 10)
TOO_MANY = 429


class _FullError(Exception):
    """Too many requests wait for a thread; internal to this listener, not a domain error."""


class StatusListener:
    """The application: few paths, bounded bodies, no state except the responders."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "status-door")
        self._waiting = 0
        self._responders = Responders()
        self._rates = Rates(0, settings.FLEET_STRANGERS_A_MINUTE)
        self._trusted = Trusted(settings.FLEET_PROXIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            return
        address = self._trusted.client_of((scope.get("client") or ("", 0))[0], scope["headers"])
        try:
            if seconds := self._rates.wait("", address):
                status, headers, body = TOO_MANY, {**TEXT, "retry-after": str(seconds)}, f"{rates.DETAIL}\n".encode()
            else:
                status, headers, body = await self._answer(scope, receive)
        except BodyError as error:
            if not error.status:
                return
            status, headers = error.status, {**TEXT, "connection": "close"}
            body = f"{error.detail}\n".encode()
        fields = {"content-length": str(len(body)), **headers}
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        try:
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        finally:  # whether or not the client read it
            self._rates.answered("", address, status, safe=True)
            if status == TOO_MANY and "muster.connection" in scope.get("extensions", {}):
                scope["extensions"]["muster.connection"]["hold"](limits.HOLD_SECONDS)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        entry = next((route for route in ROUTES if route.path.fullmatch(path)), None)
        if entry is None:
            return 404, TEXT, NOT_FOUND
        if method not in entry.methods:
            allow = sorted(entry.methods)
            known = f"{', '.join(allow[:-1])} and {allow[-1]}"
            return 405, {**TEXT, "allow": ", ".join(allow)}, f"This path supports {known}.\n".encode()
        if entry.work is not None and not entry.waits:
            return entry.work(path)
        try:
            return await (self._threaded(entry.work, path) if entry.work else self._ocsp(scope, receive))
        except _FullError:
            wait = str(random.randint(*COME_AGAIN))  # noqa: S311  because jitter needs no secure randomness
            return 503, {**TEXT, "retry-after": wait}, BUSY

    async def _threaded(self, work: Callable[[_Given], _Answer], given: _Given) -> _Answer:
        """Run work in a thread, unless too many requests wait.

        Raises:
            _FullError: too many requests wait.
        """
        if self._waiting >= MOST_WAITING:
            raise _FullError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _in_thread, work, given)
        finally:
            self._waiting -= 1

    async def _ocsp(self, scope: Scope, receive: Receive) -> Response:
        cached = scope["method"] != "POST"
        if cached:
            data = _from_path(scope.get("raw_path", b"").decode("latin-1") or scope["path"])
        else:
            data = await read_body(receive, ocsp.MAX_REQUEST)
        answer = await self._threaded(self._responders.answer, data)
        return 200, {"content-type": OCSP_RESPONSE, **_caching(answer, cached=cached)}, answer.der


def _in_thread(work: Callable[[_Given], _Answer], given: _Given) -> _Answer:
    close_old_connections()
    return work(given)


def _from_path(path: str) -> bytes:
    """Return the OCSP request in the URL of a GET (RFC 6960, A.1): base64, then URL-encoded except slashes."""
    text = unquote(path.removeprefix("/ocsp/").removeprefix("/ocsp"))
    try:
        return base64.b64decode(text[: 2 * ocsp.MAX_REQUEST], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _caching(answer: OcspAnswer, *, cached: bool) -> dict[str, str]:
    """Return the cache fields of RFC 5019, section 6.2: only GET answers without a nonce are cacheable."""
    if not cached or answer.until is None or answer.signed_at is None:
        return {"cache-control": "no-store"}
    age = min(OCSP_CACHE_SECONDS, int((answer.until - answer.signed_at).total_seconds()))
    return {
        "cache-control": f"max-age={age}, public, no-transform, must-revalidate",
        "last-modified": _date(answer.signed_at),
        "expires": _date(answer.until),
        "etag": f'"{ocsp.answer_digest(answer.der)}"',
    }


def _list(path: str) -> Response:
    key_id, shard = _CRL.fullmatch(path).groups()  # type: ignore[union-attr]  # the caller has matched it
    try:
        data = (crls.crl_folder(key_id) / f"{shard}.crl").read_bytes()
    except OSError:
        return 404, TEXT, b"There is no such list; it may come out in a moment.\n"
    headers = {"content-type": "application/pkix-crl", "cache-control": f"max-age={CRL_CACHE_SECONDS}, public"}
    return 200, headers, data


def _authority(path: str) -> Response:
    data = selectors.authority_der(_CA.fullmatch(path)[1])  # type: ignore[index]  # the caller has matched it
    if data is None:
        return 404, TEXT, b"There is no such CA.\n"
    return 200, {"content-type": "application/pkix-cert", "cache-control": "max-age=3600, public"}, data


def _healthy(_path: str) -> Response:
    return 200, TEXT, b"ok\n"


@dataclass(frozen=True, slots=True)
class StatusPath:
    """One path.

    Args:
        path: pattern of the whole path.
        methods: allowed methods.
        work: function that answers the path; None for OCSP, which needs the whole request.
        waits: whether it reads a disk or a database, and therefore needs a thread.
    """

    path: re.Pattern[str]
    methods: frozenset[str]
    work: Callable[[str], Response] | None
    waits: bool = True


#: all paths of this listener
ROUTES = (
    StatusPath(re.compile(r"/healthz"), READ, _healthy, waits=False),
    StatusPath(_CRL, READ, _list),
    StatusPath(_CA, READ, _authority),
    StatusPath(re.compile(r"/ocsp(?:/.*)?", re.DOTALL), READ | {"POST"}, None),
)


def _date(at: datetime) -> str:
    return format_datetime(at, usegmt=True)
