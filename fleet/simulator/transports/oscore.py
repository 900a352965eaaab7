"""CoAP with OSCORE: the context is fetched once over HTTPS; then one datagram each way, without a connection."""

import cbor2

from fleet.agent.errors import TransportError
from fleet.agent.oscore import Context, Session, UnusableError, read_material
from fleet.agent.steps import Steps, T
from fleet.simulator.transports import driving
from fleet.simulator.transports.base import Reach
from fleet.simulator.transports.coap import CoapLine
from fleet.simulator.transports.datagrams import Datagrams, open_datagrams
from fleet.simulator.transports.https import HttpsLine
from pki.kernel.errors import InvalidError

OK = 200


class OscoreLine(CoapLine):
    """One context; its socket is opened for a request and closed when the device goes away.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__(reach)
        self._session: Session | None = None
        self._socket: Datagrams | None = None
        self._port = 0

    async def opened(self) -> None:
        """Fetch a context if there is none, and open a socket."""
        if self._session is None:
            self._session = Session(await self._context())
        if self._socket is None:
            reach = self.reach
            self._socket = await open_datagrams((reach.host, self._port), reach.shaken, reach.source, reach.played)

    async def drive(self, steps: Steps[T]) -> T:
        """Take the steps of an exchange with this context. Return their result."""
        if self._session is None or self._socket is None:
            msg = "the OSCORE context is no longer valid"
            raise TransportError(msg)
        session, line = self._session, self._socket

        async def send(message: bytes) -> None:
            await line.send(session.protected(message))

        async def receive(until: float) -> bytes | None:
            while (data := await line.receive(until)) is not None:
                if (opened := session.opened(data)) is not None:
                    return opened
            return None

        try:
            return await driving.drive_in_loop(send, receive, steps)
        except UnusableError:
            self._session = None
            raise

    def close(self) -> None:
        """Close the socket; the context stays."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _context(self) -> Context:
        line = HttpsLine(self.reach)
        try:
            status, body = await line.answer("POST", "/v1/oscore", cbor2.dumps({}))
        finally:
            line.close()
        msg = f"the server issued no OSCORE context (status {status})"
        if status != OK:
            raise TransportError(msg)
        try:
            given = read_material(body)
        except (KeyError, ValueError, InvalidError) as error:
            raise TransportError(msg) from error
        self._port = given.port
        return Context(given.secret, given.salt, given.kid)
