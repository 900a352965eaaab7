"""CoAP with OSCORE: the context is fetched once over HTTPS; then one datagram each way, without a connection."""

from typing import Any

import cbor2
from aiocoap import Message
from aiocoap.numbers import codes

from fleet.agent.errors import TransportError
from fleet.agent.oscore import Context, Session, UnusableError
from fleet.simulator.transports.base import Reach
from fleet.simulator.transports.coap import CoapLine
from fleet.simulator.transports.datagrams import Datagrams, open_datagrams
from fleet.simulator.transports.https import HttpsLine
from pki.kernel import cbor
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

    def send(self, message: Message) -> None:
        """Send one message."""
        session, line = self._both()
        line.send(session.protected(message.encode()))

    async def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None on a timeout."""
        session, line = self._both()
        data = await line.receive(seconds)
        while data is not None:
            try:
                if (found := session.opened(data)) is not None:
                    return Message.decode(found)
            except UnusableError:
                self._session = None
                raise
            data = await line.receive(seconds)
        return None

    async def _exchange(self, message: Message) -> Message:
        """Send a request; answer the server's freshness challenge (Echo)."""
        answer = await super()._exchange(message)
        if answer.code == codes.UNAUTHORIZED and answer.opt.echo is not None:
            self._mid = (self._mid + 1) & 0xFFFF
            message.opt.echo, message.mid = answer.opt.echo, self._mid
            answer = await super()._exchange(message)
        return answer

    def close(self) -> None:
        """Close the socket; the context stays."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _both(self) -> tuple[Session, Datagrams]:
        if self._session is None or self._socket is None:
            msg = "the OSCORE context is no longer valid"
            raise TransportError(msg)
        return self._session, self._socket

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
            # untyped: missing and mistyped fields are refused below.
            given: Any = cbor.loads(body, max_bytes=4096)
            self._port = int(given["port"])
            return Context(given["ms"], given["salt"], given["client_id"])
        except (KeyError, TypeError, ValueError, InvalidError) as error:
            raise TransportError(msg) from error
