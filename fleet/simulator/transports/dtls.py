"""CoAP over DTLS 1.2 with a client certificate, in an event loop, for thousands of associations in one process."""

import time
from contextlib import suppress

from aiocoap import Message
from aiocoap.error import Error as CoapError
from OpenSSL import SSL

from fleet.agent.dtls import client_connection, records
from fleet.agent.errors import TransportError
from fleet.simulator.transports.base import PATIENCE, Reach
from fleet.simulator.transports.coap import CoapLine
from fleet.simulator.transports.datagrams import Datagrams, open_datagrams


class DtlsLine(CoapLine):
    """One association.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__(reach)
        self._socket: Datagrams | None = None
        self._line: SSL.Connection | None = None

    async def opened(self) -> None:
        """Perform the handshake if there is no association."""
        if self._line is not None:
            return
        reach = self.reach
        self._socket = await open_datagrams((reach.host, reach.coaps), reach.shaken, reach.source, reach.played)
        line = client_connection(reach.anchor, (reach.identity, reach.identity))
        await self._shake(line)
        self._line = line

    def send(self, message: Message) -> None:
        """Send one message."""
        line = self._open_line()
        line.send(message.encode())
        self._flush(line)

    async def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None on a timeout."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            line = self._open_line()
            with suppress(SSL.WantReadError, CoapError, ValueError):
                return Message.decode(line.recv(65_536))
            if not await self._take(line, left):
                return None
        return None

    def close(self) -> None:
        """Disappear without closing the association."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._line = None

    def _open_line(self) -> SSL.Connection:
        if self._line is None:
            msg = "the association has ended"
            raise TransportError(msg)
        return self._line

    async def _shake(self, line: SSL.Connection) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(SSL.WantReadError):
                line.do_handshake()
                self._flush(line)
                return
            self._flush(line)
            wait = line.DTLSv1_get_timeout()
            if not await self._take(line, 1.0 if wait is None else wait + 0.01):
                line.DTLSv1_handle_timeout()
                self._flush(line)
        msg = "the handshake took too long"
        raise TransportError(msg)

    async def _take(self, line: SSL.Connection, seconds: float) -> bool:
        """Read one datagram. Return whether one arrived in time."""
        data = await self._socket.receive(seconds) if self._socket is not None else None
        if data is not None:
            line.bio_write(data)
        return data is not None

    def _flush(self, line: SSL.Connection) -> None:
        for datagram in records(line):
            if self._socket is not None:
                self._socket.send(datagram)
