"""CoAP over DTLS 1.2 with a client certificate, in an event loop, for thousands of associations in one process."""

from typing import TYPE_CHECKING

from fleet.agent.dtls import client_connection, dtls_handshake, dtls_receive, dtls_send
from fleet.agent.errors import TransportError
from fleet.agent.steps import Steps, T
from fleet.simulator.transports import datagrams, driving
from fleet.simulator.transports.base import Reach
from fleet.simulator.transports.coap import CoapLine

if TYPE_CHECKING:
    from OpenSSL import SSL


class DtlsLine(CoapLine):
    """One association.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__(reach)
        self._socket: datagrams.Datagrams | None = None
        self._line: SSL.Connection | None = None

    async def opened(self) -> None:
        """Perform the handshake if there is no association."""
        if self._line is not None:
            return
        reach = self.reach
        self._socket = await datagrams.open_datagrams(
            (reach.host, reach.coaps), reach.shaken, reach.source, reach.played
        )
        line = client_connection(reach.anchor, (reach.identity, reach.identity))
        await self._datagrams(dtls_handshake(line))
        self._line = line

    async def drive(self, steps: Steps[T]) -> T:
        """Take the steps of an exchange over the association. Return their result."""
        if self._line is None:
            msg = "the association has ended"
            raise TransportError(msg)
        line = self._line

        async def send(message: bytes) -> None:
            await self._datagrams(dtls_send(line, message))

        async def receive(until: float) -> bytes | None:
            return await self._datagrams(dtls_receive(line, until))

        return await driving.drive_in_loop(send, receive, steps)

    def close(self) -> None:
        """Disappear without closing the association."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._line = None

    async def _datagrams(self, steps: Steps[T]) -> T:
        """Take the steps of DTLS over the socket."""
        if self._socket is None:
            msg = "the socket is closed"
            raise TransportError(msg)
        return await driving.drive_in_loop(self._socket.send, self._socket.receive, steps)
