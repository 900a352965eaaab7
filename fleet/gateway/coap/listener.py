"""The CoAP transport: turns CoAP messages and the peer of a DTLS association into requests of the device protocol."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from aiocoap import Message, resource
from aiocoap.interfaces import EndpointAddress
from aiocoap.numbers import codes
from aiocoap.pipe import Pipe
from aiocoap.protocol import ServerObservation
from django.conf import settings

from devices.services import presence
from fleet.gateway import codec, device_api_v1
from fleet.gateway.coap import mapping
from fleet.gateway.coap.dtls import DtlsRemote
from fleet.gateway.coap.fast import FastPath, cut_block
from fleet.gateway.coap.links import WELL_KNOWN, find_links
from fleet.gateway.coap.spool import Spool
from fleet.gateway.coap.tcp import Connection
from fleet.gateway.coap.udp import Speaker
from fleet.gateway.est import coaps
from fleet.gateway.protocol import BY_KIND, DeviceRequest, Reply, ResponseOutcome, TransportPeer
from fleet.gateway.workers import Workers
from fleet.observe import request_id
from fleet.wire.rates import DETAIL, Rates
from ota.services.downloads import Download
from pki.kernel import ids
from pki.kernel.coap import TAG
from pki.kernel.errors import DomainError, LimitedError

ADAPTERS = ((device_api_v1.answer_device_api, codec.encode_refusal), (coaps.answer_est_coaps, coaps.render_diagnostic))
#: largest message of a device, block-wise or whole
MAX_BODY = codec.MAX_BODY
POLL, ENROL = ("v1", "poll"), ("v1", "enrol")
#: most observations of one device; further ones are answered once
MOST = 2
T = TypeVar("T")
_logger = logging.getLogger("muster.access")


class CoapListener(resource.ObservableResource):  # type: ignore[misc]  # aiocoap has no types
    """All paths of a CoAP server; the protocol adapters handle them."""

    def __init__(self, fast: FastPath) -> None:
        super().__init__()
        self._block1._assemblies, self._block2._completes = Spool(), Spool()  # noqa: SLF001  because aiocoap has no public limit
        self._fast = fast
        self._watching: dict[str, set[ServerObservation]] = {}
        self._workers = Workers("coap-door", ADAPTERS)
        self._rates = Rates(settings.FLEET_REQUESTS_A_DEVICE, settings.FLEET_STRANGERS_A_MINUTE)

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        """Let aiocoap assemble blocks, except for files, whose blocks are read from the disk here."""
        return tuple(request.opt.uri_path[:2]) != ("v1", "blob")

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Refuse a body that is too large before it is stored."""
        block = pipe.request.opt.block1
        if block is not None and block.start + len(pipe.request.payload) > MAX_BODY:
            answer = Message(code=codes.REQUEST_ENTITY_TOO_LARGE)
            answer.opt.size1 = MAX_BODY
            pipe.add_response(answer, is_last=True)
            return
        if not _observable(pipe.request) or len(self._watching.get(_peer(pipe.request.remote).fingerprint, ())) >= MOST:
            pipe.request.opt.observe = None
        await super().render_to_pipe(pipe)

    async def add_observation(self, request: Message, serverobservation: ServerObservation) -> None:
        """Register an observation (RFC 7641): a device observes its own poll resource."""
        fingerprint = _peer(request.remote).fingerprint
        held = self._watching.setdefault(fingerprint, set())
        held.add(serverobservation)

        def ended() -> None:
            held.discard(serverobservation)
            if not held:
                self._watching.pop(fingerprint, None)

        serverobservation.accept(ended)

    def changed(self, fingerprints: set[str]) -> None:
        """Notify the devices with these certificates. Each is checked again, and refused if it lost access."""
        self._fast.forget(fingerprints)
        for fingerprint in fingerprints:
            for observation in tuple(self._watching.get(fingerprint, ())):
                observation.trigger()

    async def render(self, request: Message) -> Message:
        """Answer one whole request."""
        return await self.answer(request, _peer(request.remote))

    async def answer(self, message: Message, peer: TransportPeer) -> Message:
        """Answer one whole request of a peer."""
        token = request_id.set(str(ids.uuid7()))
        try:
            return await self._logged(message, mapping.convert_request(message, peer), peer)
        except mapping.CoapRefusalError as refusal:
            self._rates.answered(peer.fingerprint, peer.address, ResponseOutcome.INVALID.value)
            return Message(code=refusal.code, payload=refusal.detail.encode())
        finally:
            request_id.reset(token)

    async def _logged(self, message: Message, asked: DeviceRequest, peer: TransportPeer) -> Message:
        started = time.perf_counter()
        reply = await self._answer(message, asked, peer)
        if reply.file is not None:
            self._fast.allow(peer.fingerprint, reply.file)
        answer = await self._answered(message, asked, reply)
        extra: dict[str, object] = {"door": "coap", "method": asked.method, "path": asked.path[:200]}
        extra |= {"status": str(answer.code)[:4], "request_id": request_id.get(), "device": reply.device_id}
        _logger.info("answered", extra={**extra, "ms": round((time.perf_counter() - started) * 1000, 1)})
        return answer

    async def in_thread(self, act: Callable[[], T]) -> T:
        """Run a function that waits for the database or the signer."""
        return await self._workers.run(act)

    async def flush(self) -> None:
        """Write the presence of devices."""
        await self._workers.run(presence.write_gathered)

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    async def _answer(self, message: Message, asked: DeviceRequest, peer: TransportPeer) -> Reply:
        if tuple(message.opt.uri_path) == WELL_KNOWN:
            listed = find_links(asked.query.get("rt", ""), in_oscore=not peer.certificate)
            return Reply(ResponseOutcome.OK, listed.encode(), "application/link-format")
        if not peer.fingerprint:
            return Reply(ResponseOutcome.UNAUTHENTICATED, b"Use coaps:// with the device's certificate.", "text/plain")
        if not peer.certificate and (message.opt.uri_path[:1] != ("v1",) or message.opt.uri_path[:2] == ENROL):
            return Reply(ResponseOutcome.DENIED, b"Enrol and renew over coaps:// or https://.", "text/plain")
        if seconds := self._rates.wait(peer.fingerprint, peer.address):
            error = LimitedError(DETAIL, retry_after=seconds)
            return codec.encode_refusal(asked, ResponseOutcome.LIMITED, error)
        reply = Reply()
        try:
            reply = await self._workers.answer(asked)
        finally:  # also for clients that have disconnected
            self._rates.answered(peer.fingerprint, peer.address, reply.outcome.value)
        presence.note_answer(peer.fingerprint, reply.outcome.value)
        if reply.device_id:
            out = len(reply.payload) if reply.routine else 0
            presence.note_request(reply.device_id, peer.address, len(asked.payload), out, routine=reply.routine)
        return reply

    async def _answered(self, message: Message, asked: DeviceRequest, reply: Reply) -> Message:
        file = reply.file
        if file is None:
            return mapping.convert_reply(asked, reply)
        if file.path is not None:
            return _block(message, file)
        try:
            return await self._workers.run(lambda: _block(message, file))
        except DomainError as error:
            return mapping.convert_reply(asked, codec.encode_refusal(asked, BY_KIND[error.kind], error))


def _peer(remote: EndpointAddress) -> TransportPeer:
    """Return the authenticated peer; only a handshake authenticates."""
    return (
        remote.peer
        if isinstance(remote, DtlsRemote | Connection | Speaker)
        else TransportPeer(address=str(remote.hostinfo))
    )


def _observable(request: Message) -> bool:
    """Return whether a resource is observable: only a device's own poll, not that of a child device."""
    own = tuple(request.opt.uri_path) == POLL and request.code == codes.GET and not request.opt.uri_query
    return own and bool(_peer(request.remote).fingerprint)


def _block(message: Message, file: Download) -> Message:
    """Return one block of a file; there is no state between blocks (RFC 7959, 2.4)."""
    block = message.opt.block2
    exponent = min(block.size_exponent, 6) if block is not None else 6
    number = block.block_number if block is not None else 0
    if number << exponent + 4 >= file.size:
        return Message(code=codes.BAD_REQUEST, payload=b"There is no such block.")
    data, more = cut_block(file, number, exponent)
    made = Message(code=codes.CONTENT, payload=data)
    made.opt.content_format = 42
    made.opt.etag = bytes.fromhex(file.sha256)[:TAG]
    made.opt.block2 = (number, more, exponent)
    if number == 0:
        made.opt.size2 = file.size
    return made
