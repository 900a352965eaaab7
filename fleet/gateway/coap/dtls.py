"""The datagram socket of coaps://: many associations over one socket, bounded in number, and CoAP messages for aiocoap.

aiocoap's own DTLS server knows no certificates. Its classes for a simple server socket are the bases here; they are
internals, so the version is pinned and tests go through real clients.
"""

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiocoap import error, interfaces
from aiocoap.numbers import constants
from aiocoap.transports import simplesocketserver
from aiocoap.util import hostportjoin
from OpenSSL import SSL

from fleet.gateway.coap.association import Association, State, begins
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.protocol import Peer

#: associations that are kept, some tens of kilobytes each; whoever was silent longest makes room
MOST_ASSOCIATIONS = 5000
#: handshakes that are under way; more are dropped, and the client repeats its hello
MOST_HANDSHAKES = 500
HANDSHAKE_SECONDS = 30.0
# aiocoap offers its classes for a server on one socket to its own transports only; these two are all that is used.
_Plain = simplesocketserver._Address  # noqa: SLF001  because see above
_Socket = simplesocketserver._DatagramServerSocketSimple  # noqa: SLF001  because see above
_logger = logging.getLogger("muster.coap")
SocketAddress = tuple[Any, ...]


class Remote(interfaces.EndpointAddress):  # type: ignore[misc]  # aiocoap has no types
    """A peer with its association, as aiocoap addresses it; another association is another remote."""

    is_multicast = False
    is_multicast_locally = False
    scheme = "coaps"
    maximum_block_size_exp = constants.MAX_REGULAR_BLOCK_SIZE_EXP

    def __init__(self, server: "ServerSocket", address: SocketAddress) -> None:
        self.server, self._address = server, address
        self._plain = _Plain(server, address)
        self.association = Association(server.context, repr(address[:2]).encode())
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = server.now() + HANDSHAKE_SECONDS

    @property
    def address(self) -> SocketAddress:
        """Return the socket address of the peer."""
        return self._address

    @property
    def peer(self) -> Peer:
        """Return what the handshake has proved."""
        return Peer(self.association.fingerprint, self.association.certificate, str(self._address[0]))

    @property
    def hostinfo(self) -> str:
        """Return host and port of the peer."""
        return str(self._plain.hostinfo)

    @property
    def hostinfo_local(self) -> str:
        """Return host and port of this server."""
        return str(self.server.hostinfo_local)

    @property
    def uri_base(self) -> str:
        """Return the beginning of URIs at the peer."""
        return f"coaps://{self.hostinfo}"

    @property
    def uri_base_local(self) -> str:
        """Return the beginning of URIs at this server."""
        return f"coaps://{self.hostinfo_local}"

    @property
    def authenticated_claims(self) -> list[str]:
        """Return the fingerprint of the peer's certificate."""
        return [self.association.fingerprint]

    @property
    def blockwise_key(self) -> tuple[SocketAddress, str]:
        """Return what parts of one body have in common: never the address alone."""
        return self._address, self.association.fingerprint

    def send(self, message: bytes) -> None:
        """Send one CoAP message."""
        self.association.send(message)
        self.flush()

    def take(self, datagram: bytes) -> list[bytes]:
        """Take a datagram of the peer; return the CoAP messages in it."""
        found = self.association.receive(datagram)
        self.flush()
        return found

    def flush(self) -> None:
        """Send what the association has to send, and set the clock for what may get lost."""
        for datagram in self.association.outgoing():
            self.server.write(datagram, self._address)
        self.rest()
        if self.association.state is State.SHAKING:
            wait = self.association.timeout()
            self._timer = asyncio.get_running_loop().call_later(max(1.0 if wait is None else wait, 0.01), self._late)

    def rest(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.server.now() > self._deadline:
            self.server.drop(self, "the handshake took too long")
            return
        self.association.late()
        self.flush()
        if self.association.state is State.CLOSED:
            self.server.drop(self, "the handshake failed")


@dataclass(frozen=True, slots=True)
class Given:
    """What a socket needs of its server.

    Args:
        context: with the door's certificate and the anchors.
        fast: answers what is asked most.
    """

    context: SSL.Context
    fast: FastPath


class ServerSocket(_Socket):  # type: ignore[misc, valid-type]  # aiocoap has no types
    """One UDP socket and its associations."""

    def __init__(self, ready: Callable[[Any], None], interface: Any, log: logging.Logger, given: "Given") -> None:
        super().__init__(ready, interface, log)
        self.context, self._fast = given.context, given.fast
        self._open: OrderedDict[SocketAddress, Remote] = OrderedDict()
        self._shaking: OrderedDict[SocketAddress, Remote] = OrderedDict()

    @classmethod
    async def start(
        cls, bound: socket.socket, given: "Given", interface: "MessageInterface", log: logging.Logger
    ) -> "ServerSocket":
        """Serve a socket that is bound already, by one process only: associations live in its memory."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[ServerSocket] = loop.create_future()
        await loop.create_datagram_endpoint(lambda: cls(ready.set_result, interface, log, given), sock=bound)
        self = await ready
        self._loop = loop
        self.hostinfo_local = hostportjoin(*bound.getsockname()[:2])
        return self

    def now(self) -> float:
        """Return the loop's clock."""
        return asyncio.get_running_loop().time()

    def write(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram."""
        self._transport.sendto(datagram, address)

    def datagram_received(self, data: bytes, sockaddr: SocketAddress) -> None:
        """Take one datagram from anybody."""
        shaking = self._shaking.get(sockaddr)
        if shaking is not None:
            self._go_on(shaking, data)
        elif begins(data):
            self._begin(data, sockaddr)
        elif (remote := self._open.get(sockaddr)) is not None:
            self._open.move_to_end(sockaddr)
            self._deliver(remote, data)

    def drop(self, remote: Remote, why: str) -> None:
        """Forget an association; what waits for its peer is told."""
        remote.rest()
        for table in (self._open, self._shaking):
            if table.get(remote.address) is remote:
                del table[remote.address]
        self._message_interface._received_exception(remote, error.LibraryShutdown(why))  # noqa: SLF001  because it is how a socket tells aiocoap

    def fingerprints(self) -> set[str]:
        """Return which certificates have an association."""
        return {remote.association.fingerprint for remote in tuple(self._open.values())}

    def cut(self, fingerprints: set[str]) -> None:
        """End the associations of these certificates."""
        for remote in [one for one in self._open.values() if one.association.fingerprint in fingerprints]:
            remote.association.close()
            remote.flush()
            self.drop(remote, "the certificate is not good any more")

    async def shutdown(self) -> None:
        """Say good-bye to everybody."""
        for remote in [*self._open.values(), *self._shaking.values()]:
            remote.association.close()
            remote.flush()
            remote.rest()
        await super().shutdown()

    def _begin(self, data: bytes, sockaddr: SocketAddress) -> None:
        """Answer a hello. Without the right cookie nothing is kept; an open association stays until the new one is."""
        if len(self._shaking) >= MOST_HANDSHAKES:
            return
        remote = Remote(self, sockaddr)
        remote.take(data)
        if remote.association.state is State.SHAKING:
            self._shaking[sockaddr] = remote

    def _go_on(self, remote: Remote, data: bytes) -> None:
        messages = remote.take(data)
        state = remote.association.state
        if state is State.SHAKING:
            return
        self._shaking.pop(remote.address, None)
        remote.rest()
        if state is State.CLOSED:
            _logger.info("a DTLS handshake failed", extra={"peer": str(remote.address[0])})
            return
        if (old := self._open.get(remote.address)) is not None:
            self.drop(old, "the peer has begun anew")
        while len(self._open) >= MOST_ASSOCIATIONS:
            self.drop(next(iter(self._open.values())), "room was needed")
        self._open[remote.address] = remote
        self._hand_on(remote, messages)

    def _deliver(self, remote: Remote, data: bytes) -> None:
        messages = remote.take(data)
        self._hand_on(remote, messages)
        if remote.association.state is State.CLOSED:
            self.drop(remote, "the peer has closed")

    def _hand_on(self, remote: Remote, messages: list[bytes]) -> None:
        for message in messages:
            key = remote.association.key
            answer = self._fast.answer(message, key, str(remote.address[0])) if key else None
            if answer is not None:
                remote.send(answer)
                continue
            self._message_interface._received_datagram(remote, message)  # noqa: SLF001  because it is how a socket tells aiocoap


class MessageInterface(simplesocketserver.MessageInterfaceSimpleServer):  # type: ignore[misc]  # aiocoap has no types
    """coaps:// with certificates for aiocoap."""

    @classmethod
    async def start(
        cls, manager: interfaces.MessageManager, log: logging.Logger, bound: socket.socket, given: Given
    ) -> "MessageInterface":
        """Return the interface over a bound UDP socket."""
        made = cls(manager, log, asyncio.get_running_loop())
        made._pool = await ServerSocket.start(bound, given, made, log)
        return made

    @property
    def socket(self) -> ServerSocket:
        """Return the socket."""
        found: ServerSocket = self._pool
        return found

    async def recognize_remote(self, remote: object) -> bool:
        """Say whether a remote is one of ours."""
        return isinstance(remote, Remote) and remote.server is self._pool
