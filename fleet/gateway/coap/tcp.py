"""coaps+tcp:// (RFC 8323): aiocoap's own transport over TLS with client certificates, bounded, and knowing its peer."""

import asyncio
import hashlib
import logging
import socket
import ssl
from typing import Any

from aiocoap.transports import tcp, tls

from fleet.gateway.protocol import Peer

#: connections that are open at once; the next ones are closed at once
MOST_CONNECTIONS = 5000
#: a message of a device is never longer, blocks make larger bodies
MAX_MESSAGE = 64 * 1024 + 1024
_logger = logging.getLogger("muster.coap")


class Connection(tcp.TcpConnection):  # type: ignore[misc]  # aiocoap has no types
    """One connection, with what the handshake has proved."""

    _my_max_message_size = MAX_MESSAGE
    peer = Peer()

    def connection_made(self, transport: Any) -> None:
        """Take the leaf certificate when the handshake is over."""
        super().connection_made(transport)
        connected = transport.get_extra_info("ssl_object")
        leaf = (connected.getpeercert(binary_form=True) if connected else None) or b""
        fingerprint = hashlib.sha256(leaf).hexdigest() if leaf else ""
        self.peer = Peer(fingerprint, leaf, str(transport.get_extra_info("peername")[0]))
        if self._ctx.full:
            _logger.warning("too many CoAP connections")
            transport.abort()

    @property
    def blockwise_key(self) -> tuple[object, str]:
        """Return what parts of one body have in common: never the address alone."""
        return super().blockwise_key, self.peer.fingerprint


class Server(tls.TLSServer):  # type: ignore[misc]  # aiocoap has no types
    """The listening side over a socket that is bound already."""

    @property
    def full(self) -> bool:
        """Say whether more connections are open than may be."""
        return len(self._pool) > MOST_CONNECTIONS

    def fingerprints(self) -> set[str]:
        """Return which certificates are connected."""
        return {one.peer.fingerprint for one in tuple(self._pool) if one.peer.fingerprint}

    def cut(self, fingerprints: set[str]) -> None:
        """Close the connections of these certificates."""
        for one in [one for one in self._pool if one.peer.fingerprint in fingerprints]:
            one._transport.abort()  # noqa: SLF001  because aiocoap's own way to close sends a message first

    @classmethod
    async def start(cls, tokens: Any, log: logging.Logger, bound: socket.socket, context: ssl.SSLContext) -> "Server":
        """Serve a listening socket."""
        loop = asyncio.get_running_loop()
        self = cls()
        self._tokenmanager, self.log = tokens, log

        def connection() -> Connection:
            made = Connection(self, log, loop, is_server=True)
            self._pool.add(made)
            return made

        self.server = await loop.create_server(connection, sock=bound, ssl=context)
        return self
