"""coaps+tcp:// (RFC 8323): aiocoap's TLS transport with client certificates, limits, and the authenticated peer."""

import asyncio
import hashlib
import logging
import socket
import ssl

from aiocoap import interfaces
from aiocoap.transports import tcp, tls

from devices.services import presence
from fleet.gateway.admission import AdmissionGate
from fleet.gateway.protocol import TransportPeer
from fleet.wire.bodies import BodyPace

#: most connections, and most of one certificate; the least recently active one is evicted
MOST_CONNECTIONS, MOST_OF_ONE = 5000, 8
#: longest message of a device; larger bodies are sent block-wise
MAX_MESSAGE = 64 * 1024 + 1024
_logger = logging.getLogger("muster.coap")


class Connection(tcp.TcpConnection):  # type: ignore[misc]  # aiocoap has no types
    """One connection with its authenticated peer."""

    _my_max_message_size = MAX_MESSAGE
    peer = TransportPeer()
    heard = 0.0
    _pace: BodyPace | None = None
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Store the leaf certificate after the handshake; the connection counts from now on."""
        super().connection_made(transport)
        connected = transport.get_extra_info("ssl_object")
        leaf = (connected.getpeercert(binary_form=True) if connected else None) or b""
        fingerprint = hashlib.sha256(leaf).hexdigest() if leaf else ""
        self.peer = TransportPeer(fingerprint, leaf, str(transport.get_extra_info("peername")[0]))
        self.heard = self.loop.time()
        resumed = connected is not None and connected.session_reused
        presence.note_peer(fingerprint, "tls_resumptions" if resumed else "tls_handshakes")
        self._ctx.opened(self)

    def data_received(self, data: bytes) -> None:
        """Store the time of the last data; a started message must arrive at the minimum rate of a body."""
        self.heard = self.loop.time()
        try:
            super().data_received(data)
        except ValueError as error:  # a text option that is not UTF-8; a note of `measured` names it
            self._no_hurry()
            self.abort(" ".join(getattr(error, "__notes__", ["An option is not UTF-8."])))
            return
        self._no_hurry()
        if not self._spool or self._transport.is_closing():
            self._pace = None
            return
        self._pace = self._pace or BodyPace()
        self._pace.came += len(data)
        self._late = self.loop.call_later(self._pace.patience, self.end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._no_hurry()
        self._ctx.closed(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Close: the peer sends requests but does not read the answers."""
        self.end()

    def _no_hurry(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def end(self) -> None:
        """Close at once; aiocoap's own way sends a message first."""
        self._transport.abort()

    @property
    def blockwise_key(self) -> tuple[object, str]:
        """Return the key that blocks of one body share; never the address alone."""
        return super().blockwise_key, self.peer.fingerprint


class CoapTcpServer(tls.TLSServer):  # type: ignore[misc]  # aiocoap has no types
    """The server side over a bound socket."""

    def __init__(self) -> None:
        super().__init__()
        self._by_certificate: dict[str, set[Connection]] = {}

    def opened(self, connection: Connection) -> None:
        """Accept a connection after its handshake."""
        same = self._by_certificate.setdefault(connection.peer.fingerprint, set())
        rivals = same if len(same) >= MOST_OF_ONE else self._pool if len(self._pool) >= MOST_CONNECTIONS else ()
        if rivals:
            silent = min(rivals, key=lambda rival: rival.heard)
            self.closed(silent)
            silent.end()
        same.add(connection)
        self._pool.add(connection)

    def closed(self, connection: Connection) -> None:
        """Remove a connection."""
        self._pool.discard(connection)
        same = self._by_certificate.get(connection.peer.fingerprint, set())
        same.discard(connection)
        if not same:
            self._by_certificate.pop(connection.peer.fingerprint, None)

    def fingerprints(self) -> set[str]:
        """Return the connected certificates; safe to call from another thread."""
        return set(self._by_certificate) - {""}

    def cut(self, fingerprints: set[str]) -> None:
        """Close the connections of these certificates."""
        for connection in [connection for name in fingerprints for connection in self._by_certificate.get(name, ())]:
            connection.end()

    @classmethod
    async def start(
        cls, tokens: interfaces.TokenManager, log: logging.Logger, bound: socket.socket, context: ssl.SSLContext
    ) -> "CoapTcpServer":
        """Serve a listening socket; connections pass the same admission control as HTTPS."""
        loop = asyncio.get_running_loop()
        self = cls()
        self._tokenmanager, self.log = tokens, log
        self.server = AdmissionGate(bound, lambda: Connection(self, log, loop, is_server=True), context)
        return self
