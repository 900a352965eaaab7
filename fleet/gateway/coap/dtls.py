"""The UDP socket of coaps://: a bounded number of associations over one socket, and CoAP messages for aiocoap.

aiocoap's own DTLS server does not support certificates. This module extends its classes for a simple server socket.
They are internal, so the version is pinned and tests use real clients.
"""

import asyncio
import logging
import socket
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiocoap import error, interfaces
from aiocoap.transports import simplesocketserver
from aiocoap.util import hostportjoin
from OpenSSL import SSL

from devices.services import presence
from fleet.gateway.coap.association import Association, HandshakeState, begins_association
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.coap.remote import CoapRemote as Base
from fleet.gateway.coap.remote import SocketAddress
from fleet.gateway.protocol import TransportPeer

if TYPE_CHECKING:
    from collections.abc import Callable

#: most associations, some tens of kilobytes each; the least recently active one is evicted
MOST_ASSOCIATIONS = 5000
#: most concurrent handshakes
MOST_HANDSHAKES = 500
#: most of one address; above the limit the oldest is evicted, but not before a minimum time
MOST_OF_ADDRESS, YOUNG_SECONDS = 64, 3.0
#: four retransmissions of a flight (RFC 6347, 4.2.4.1)
HANDSHAKE_SECONDS = 20.0
#: most associations of one certificate
MOST_OF_ONE = 8
#: message ids of one association for which aiocoap may still store an answer
MOST_REMEMBERED = 256
# aiocoap offers its classes for a server on one socket to its own transports only; this one is all that is used.
_Socket = simplesocketserver._DatagramServerSocketSimple  # noqa: SLF001  because see above
_logger = logging.getLogger("muster.coap")


class DtlsRemote(Base):
    """A peer with its association, as an aiocoap remote; each association is a separate remote."""

    scheme = "coaps"

    def __init__(self, server: "ServerSocket", address: SocketAddress) -> None:
        super().__init__(server.hostinfo_local, address)
        self.server = server
        self.association = Association(server.context, repr(address[:2]).encode())
        self._timer: asyncio.TimerHandle | None = None
        self.since = server.now()
        #: of messages that aiocoap may still remember
        self.mids: deque[int] = deque(maxlen=MOST_REMEMBERED)
        self._last_id = b""

    @property
    def peer(self) -> TransportPeer:
        """Return the authenticated peer."""
        return TransportPeer(self.association.fingerprint, self.association.certificate, str(self._address[0]))

    @property
    def authenticated_claims(self) -> list[str]:
        """Return the fingerprint of the peer's certificate."""
        return [self.association.fingerprint]

    @property
    def blockwise_key(self) -> tuple[SocketAddress, str]:
        """Return the key that blocks of one body share; never the address alone."""
        return self._address, self.association.fingerprint

    def repeats(self, message: bytes) -> bool:
        """Return whether a message repeats the last confirmable request."""
        if len(message) < 4 or message[0] & 0x30 or not 0 < message[1] < 0x20:  # noqa: PLR2004  because RFC 7252, 3 says so
            return False
        before, self._last_id = self._last_id, message[2:4]
        return before == self._last_id

    def send(self, message: bytes) -> None:
        """Send one CoAP message."""
        self.association.send(message)
        self.flush()

    def take(self, datagram: bytes) -> list[bytes]:
        """Process a datagram of the peer. Return its CoAP messages."""
        messages = self.association.receive(datagram)
        self.flush()
        return messages

    def flush(self) -> None:
        """Send the outgoing data of the association, and start the retransmission timer."""
        for datagram in self.association.outgoing():
            self.server.write(datagram, self._address)
        self.rest()
        if self.association.state is HandshakeState.SHAKING:
            wait = self.association.timeout()
            self._timer = asyncio.get_running_loop().call_later(max(1.0 if wait is None else wait, 0.01), self._late)

    def rest(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.server.now() > self.since + HANDSHAKE_SECONDS:
            self.server.drop(self, "the handshake timed out")
            return
        self.association.late()
        self.flush()
        if self.association.state is HandshakeState.CLOSED:
            self.server.drop(self, "the handshake failed")


@dataclass(frozen=True, slots=True)
class Given:
    """The parameters of a socket.

    Args:
        context: context with the server certificate and the trust anchors.
        fast: fast path for the most frequent requests.
    """

    context: SSL.Context
    fast: FastPath


class ServerSocket(_Socket):  # type: ignore[misc, valid-type]  # aiocoap has no types
    """One UDP socket and its associations."""

    def __init__(
        self,
        ready: "Callable[[ServerSocket], None]",
        interface: "MessageInterface",
        log: logging.Logger,
        given: "Given",
    ) -> None:
        super().__init__(ready, interface, log)
        self.context, self._fast = given.context, given.fast
        self._open: OrderedDict[SocketAddress, DtlsRemote] = OrderedDict()
        self._shaking: OrderedDict[SocketAddress, DtlsRemote] = OrderedDict()
        self._shaking_at: dict[str, OrderedDict[SocketAddress, None]] = {}
        self._by_certificate: dict[str, OrderedDict[SocketAddress, DtlsRemote]] = {}

    @classmethod
    async def start(
        cls, bound: socket.socket, given: "Given", interface: "MessageInterface", log: logging.Logger
    ) -> "ServerSocket":
        """Serve a bound socket in one process only, because associations live in its memory."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[ServerSocket] = loop.create_future()
        await loop.create_datagram_endpoint(lambda: cls(ready.set_result, interface, log, given), sock=bound)
        self = await ready
        self._loop = loop
        self.hostinfo_local = hostportjoin(*bound.getsockname()[:2])
        return self

    def now(self) -> float:
        """Return the time of the event loop."""
        return asyncio.get_running_loop().time()

    def write(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram."""
        self._transport.sendto(datagram, address)

    def datagram_received(self, data: bytes, sockaddr: SocketAddress) -> None:
        """Process one datagram."""
        shaking = self._shaking.get(sockaddr)
        if shaking is not None:
            self._go_on(shaking, data)
        elif begins_association(data):
            self._begin(data, sockaddr)
        elif (remote := self._open.get(sockaddr)) is not None:
            self._open.move_to_end(sockaddr)
            self._deliver(remote, data)

    def drop(self, remote: DtlsRemote, why: str) -> None:
        """Remove an association, and notify its pending requests."""
        remote.rest()
        if self._shaking.get(remote.address) is remote:
            self._shaken(remote)
        if self._open.get(remote.address) is remote:
            del self._open[remote.address]
            same = self._by_certificate[remote.association.fingerprint]
            del same[remote.address]
            if not same:
                del self._by_certificate[remote.association.fingerprint]
        remote.association.forget()
        self._message_interface.forget(remote)
        self._message_interface._received_exception(remote, error.LibraryShutdown(why))  # noqa: SLF001  because it is how a socket tells aiocoap

    def fingerprints(self) -> set[str]:
        """Return the certificates with an association; safe to call from another thread."""
        return set(self._by_certificate)

    def cut(self, fingerprints: set[str]) -> None:
        """End the associations of these certificates."""
        for remote in [one for name in fingerprints for one in tuple(self._by_certificate.get(name, {}).values())]:
            remote.association.close()
            remote.flush()
            self.drop(remote, "the certificate is no longer accepted")

    async def shutdown(self) -> None:
        """Close all associations."""
        for remote in [*self._open.values(), *self._shaking.values()]:
            remote.association.close()
            remote.flush()
            remote.rest()
        await super().shutdown()

    def _begin(self, data: bytes, sockaddr: SocketAddress) -> None:
        """Answer a hello. Store nothing without a valid cookie; keep an open association until the new one is open."""
        remote = DtlsRemote(self, sockaddr)
        remote.association.receive(data)
        if remote.association.state is HandshakeState.SHAKING:
            if not self._makes_room(sockaddr[0]):
                return  # nothing was answered yet: the peer repeats its hello
            self._shaking_at.setdefault(sockaddr[0], OrderedDict())[sockaddr] = None
            self._shaking[sockaddr] = remote
        remote.flush()

    def _makes_room(self, host: str) -> bool:
        """Return whether another handshake may start; evict one that is past its minimum time."""
        here: OrderedDict[SocketAddress, None] = self._shaking_at.get(host, OrderedDict())
        if len(here) < MOST_OF_ADDRESS and len(self._shaking) < MOST_HANDSHAKES:
            return True
        crowded = next(iter(here)) if len(here) >= MOST_OF_ADDRESS else next(iter(self._shaking))
        oldest = self._shaking[crowded]
        if self.now() - oldest.since < YOUNG_SECONDS:
            return False
        self.drop(oldest, "evicted by another handshake")
        return True

    def _shaken(self, remote: DtlsRemote) -> None:
        """Release the slot of a finished handshake."""
        del self._shaking[remote.address]
        here = self._shaking_at[remote.address[0]]
        del here[remote.address]
        if not here:
            del self._shaking_at[remote.address[0]]

    def _go_on(self, remote: DtlsRemote, data: bytes) -> None:
        messages = remote.take(data)
        state = remote.association.state
        if state is HandshakeState.SHAKING:
            return
        self._shaken(remote)
        remote.rest()
        if state is HandshakeState.CLOSED:
            _logger.info("a DTLS handshake failed", extra={"peer": str(remote.address[0])})
            return
        if (old := self._open.get(remote.address)) is not None:
            self.drop(old, "the peer started a new association")
        while len(self._open) >= MOST_ASSOCIATIONS:
            self.drop(next(iter(self._open.values())), "evicted: too many associations")
        presence.note_peer(remote.association.fingerprint, "tls_handshakes")
        same = self._by_certificate.setdefault(remote.association.fingerprint, OrderedDict())
        if len(same) >= MOST_OF_ONE:
            self.drop(next(iter(same.values())), "the device started too many associations")
            same = self._by_certificate.setdefault(remote.association.fingerprint, OrderedDict())
        same[remote.address] = self._open[remote.address] = remote
        self._hand_on(remote, messages)

    def _deliver(self, remote: DtlsRemote, data: bytes) -> None:
        messages = remote.take(data)
        self._hand_on(remote, messages)
        if remote.association.state is HandshakeState.CLOSED:
            self.drop(remote, "the peer has closed")

    def _hand_on(self, remote: DtlsRemote, messages: list[bytes]) -> None:
        for message in messages:
            if remote.repeats(message):
                presence.note_peer(remote.association.fingerprint, "coap_retransmits")
            key = remote.association.key
            answer = self._fast.answer(message, key, str(remote.address[0])) if key else None
            if answer is not None:
                remote.send(answer)
                continue
            remote.mids.append(int.from_bytes(message[2:4], "big"))
            try:
                self._message_interface._received_datagram(remote, message)  # noqa: SLF001  because it is how a socket tells aiocoap
            except ValueError:  # aiocoap decodes text options only here, and does not handle invalid UTF-8
                _logger.info("a message with a malformed option is ignored")


class MessageInterface(simplesocketserver.MessageInterfaceSimpleServer):  # type: ignore[misc]  # aiocoap has no types
    """coaps:// with certificates for aiocoap."""

    @classmethod
    async def start(
        cls, manager: interfaces.MessageManager, log: logging.Logger, bound: socket.socket, given: Given
    ) -> "MessageInterface":
        """Return the interface over a bound UDP socket."""
        server = cls(manager, log, asyncio.get_running_loop())
        server._pool = await ServerSocket.start(bound, given, server, log)
        return server

    @property
    def socket(self) -> ServerSocket:
        """Return the socket."""
        server: ServerSocket = self._pool
        return server

    def forget(self, remote: DtlsRemote) -> None:
        """Free aiocoap's stored answers to a removed peer; the keys expire later."""
        for mid in remote.mids:
            if (remote, mid) in self._mman._recent_messages:  # noqa: SLF001  because aiocoap has no public way
                self._mman._recent_messages[remote, mid] = None  # noqa: SLF001  because see above
        remote.mids.clear()

    async def recognize_remote(self, remote: object) -> bool:
        """Return whether a remote belongs to this interface."""
        return isinstance(remote, DtlsRemote) and remote.server is self._pool
