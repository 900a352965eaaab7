"""The HTTPS transport: a raw ASGI application that turns bytes and a peer certificate into a Request."""

import asyncio
import logging
import re
import time
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import parse_qsl

from django.conf import settings

from devices.services import presence
from fleet.gateway import blobs, client_cert_header, codec, connection, device_api_v1
from fleet.gateway.client_cert_header import Proxies
from fleet.gateway.connection import DeviceConnections
from fleet.gateway.ddi import adapter as ddi
from fleet.gateway.est import adapter as est
from fleet.gateway.limiter import Asker, Limiter
from fleet.gateway.poll_cache import Answers, PollCache, each_second
from fleet.gateway.poll_cache_sync import Follower
from fleet.gateway.protocol import BY_KIND, DeviceRequest, ProtocolAdapter, Reply, ResponseOutcome, TransportPeer
from fleet.gateway.workers import Workers
from fleet.observe import request_id
from fleet.wire import limits, rates
from fleet.wire.asgi import Receive, Scope, Send
from fleet.wire.bodies import BodyError, read_body
from fleet.wire.networks import FORWARDED, Trusted
from pki.kernel import ids
from pki.kernel.errors import DomainError, LimitedError

ADAPTERS = (
    (device_api_v1.answer_device_api, codec.encode_refusal),
    (est.answer_est, est.render_est_refusal),
    (ddi.answer_ddi, ddi.render_ddi_refusal),
)
PARTIAL = 206
#: header fields of a resumed download
RESUMED = re.compile(r"bytes=[1-9][0-9]*-")
#: header fields that claim another identity
CLAIMS = client_cert_header.LOOKALIKES | {client_cert_header.FIELD}
#: longest request body in bytes; a longer one is refused before it is read to its end
MAX_BODY = codec.MAX_BODY
TEXT = "text/plain; charset=utf-8"
_logger = logging.getLogger("muster.access")


@dataclass(slots=True)
class _Exchange:
    """One request and its outcome.

    Args:
        request: request of the device.
        who: client that is charged for it.
        reply: reply that was sent, or would have been sent.
        status: HTTP status; 0 when there was nothing to answer.
    """

    request: DeviceRequest
    who: Asker
    reply: Reply = field(default_factory=Reply)
    status: int = 0

    def log(self, identifier: str, seconds: float) -> None:
        """Write the access log line."""
        extra: dict[str, object] = {"door": "device", "method": self.request.method, "path": self.request.path[:200]}
        extra |= {"status": self.status, "request_id": identifier, "ms": round(seconds * 1000, 1)}
        _logger.info("answered", extra={**extra, "device": self.reply.device_id})


class DeviceListener:
    """The application: bounded bodies, bounded threads, one log line per request."""

    def __init__(self) -> None:
        proxies = Proxies(settings.FLEET_PROXIES, settings.FLEET_PROXY_FORM)
        trusted = Trusted(settings.FLEET_PROXIES)
        behind = tuple((_behind(proxies, trusted, adapter), render) for adapter, render in ADAPTERS)
        self._workers = Workers("device-door", behind)
        self._limiter = Limiter(self._workers, trusted)
        self._table, self._answers = PollCache(), Answers()
        self._connections = DeviceConnections(self._table, self._answers)
        self._clock: asyncio.Task[None] | None = None
        self._follower: Follower | None = None

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """Return the connection class of this listener."""
        return connection.make_device_protocol(self._connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        token = request_id.set(str(ids.uuid7()))
        request = _request(scope, b"")
        exchange = _Exchange(request, self._limiter.asker(request))
        try:
            await self._serve(exchange, receive, send)
        except Exception:
            exchange.status = exchange.status or ResponseOutcome.INTERNAL.value
            raise
        finally:  # whether or not the client read the answer
            identifier = request_id.get()
            request_id.reset(token)
            if exchange.status:
                self._note(exchange, scope)
                exchange.log(identifier, time.perf_counter() - started)

    def _note(self, exchange: "_Exchange", scope: Scope) -> None:
        """Charge for an answer, and record the presence of the device."""
        request, reply, status, who = exchange.request, exchange.reply, exchange.status, exchange.who
        self._limiter.answered(who, request, status, proved=bool(reply.device_id))
        if status == ResponseOutcome.LIMITED.value and "muster.connection" in scope.get("extensions", {}):
            scope["extensions"]["muster.connection"]["hold"](limits.HOLD_SECONDS)
        if reply.device_id:
            out = len(reply.payload) if reply.routine else 0
            presence.note_request(reply.device_id, who.address, len(request.payload), out, routine=reply.routine)
        presence.note_answer(request.peer.fingerprint, status)
        if status == PARTIAL and RESUMED.fullmatch(request.headers.get("range", "")):
            presence.note_peer(request.peer.fingerprint, "download_resumes")

    async def _serve(self, exchange: "_Exchange", receive: Receive, send: Send) -> None:
        """Answer a request. The status stays 0 if the client disconnects before its body is complete."""
        request, close = exchange.request, False
        try:
            if request.path != "/healthz" and (seconds := await self._limiter.wait(exchange.who, request)):
                reply = _refused(request, ResponseOutcome.LIMITED, LimitedError(rates.DETAIL, retry_after=seconds))
            else:
                exchange.request = request = replace(request, payload=await read_body(receive, MAX_BODY))
                reply = await self._answer(request)
        except BodyError as error:
            if not error.status:
                return
            reply, close = Reply(ResponseOutcome(error.status), f"{error.detail}\n".encode(), TEXT), True
        exchange.reply, exchange.status = reply, reply.outcome.value
        exchange.status = await _send(request, reply, send, close=close)

    async def _answer(self, request: DeviceRequest) -> Reply:
        if request.path == "/healthz":
            return Reply(ResponseOutcome.OK, b"ok\n", TEXT)
        return await self._workers.answer(request)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._clock is not None:
                    self._clock.cancel()
                if self._follower is not None:
                    self._follower.stop()
                self._table.hand_over(self._answers.size)
                await self._workers.run(presence.write_gathered)
                self._workers.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        """Start the background tasks, after the fork, in the serving event loop."""
        loop = asyncio.get_running_loop()

        def cut(fingerprints: set[str]) -> None:
            if fingerprints:
                _logger.warning("connections are cut", extra={"certificates": len(fingerprints)})
                loop.call_soon_threadsafe(self._connections.cut, fingerprints)

        self._follower = Follower(self._table, self._connections.fingerprints, cut, lambda _: None)
        self._follower.start()
        write = partial(self._workers.run, presence.write_gathered)
        self._clock = asyncio.create_task(each_second(self._table, self._answers, write))


def _behind(proxies: Proxies, trusted: Trusted, adapter: ProtocolAdapter) -> ProtocolAdapter:
    """Wrap a protocol adapter so that it accepts certificates from listed proxies only."""

    def answer(request: DeviceRequest) -> Reply | None:
        peer = proxies.peer(request.claims, request.peer) if request.claims else request.peer
        address = trusted.client_of(peer.address, request.forwarded)
        return adapter(replace(request, peer=replace(peer, address=address), claims=()))

    return answer


def _refused(request: DeviceRequest, outcome: ResponseOutcome, error: DomainError) -> Reply:
    """Return a refusal in the error format of the protocol of a path."""
    if request.path.startswith(est.ROOT):
        return est.render_est_refusal(request, outcome, error)
    if request.path.startswith("/v1/"):
        return codec.encode_refusal(request, outcome, error)
    headers = {"retry-after": str(error.context["retry_after"])} if outcome is ResponseOutcome.LIMITED else {}
    reply = ddi.render_ddi_refusal(request, outcome, error)
    return replace(reply, headers={**reply.headers, **headers})


def _own_authority() -> str:
    """Return the host and port of this server, for links in answers to clients that sent no Host."""
    return f"{(settings.FLEET_HOST_NAMES or ['localhost'])[0]}:{settings.FLEET_DEVICE_PORT}"


def _request(scope: Scope, body: bytes) -> DeviceRequest:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    tls = scope.get("extensions", {}).get("muster.peer", {})
    client = scope.get("client") or ("", 0)
    authority = headers.get("host", "") or _own_authority()  # HTTP/1.0 has no Host field
    return DeviceRequest(
        peer=TransportPeer(tls.get("fingerprint", ""), tls.get("certificate", b""), client[0], tls.get("binding", b"")),
        method=scope["method"],
        path=scope["path"],
        host=authority.rsplit(":", 1)[0].strip("[]"),
        authority=authority,
        payload=body,
        headers=headers,
        claims=tuple(header for header in scope["headers"] if header[0] in CLAIMS),
        forwarded=tuple(header for header in scope["headers"] if header[0] == FORWARDED),
        query=dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), max_num_fields=limits.MOST_QUERY)),
    )


async def _send(request: DeviceRequest, reply: Reply, send: Send, *, close: bool = False) -> int:
    if reply.file is not None:
        try:
            return await blobs.send_blob(request, reply, reply.file, send)
        except DomainError as error:  # the object store does not answer
            reply = codec.encode_refusal(request, BY_KIND[error.kind], error)
    fields = {"content-length": str(len(reply.payload)), **reply.headers}
    if reply.payload:
        fields["content-type"] = reply.content_type
    if close:
        fields["connection"] = "close"
    if reply.outcome in {ResponseOutcome.NO_CONTENT, ResponseOutcome.NOT_MODIFIED}:
        del fields["content-length"]
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": reply.outcome.value, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else reply.payload})
    return reply.outcome.value
