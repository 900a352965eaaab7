"""CoAP of a simulated device: the agent's exchanges, driven in an event loop."""

import asyncio
from abc import ABC, abstractmethod

from aiocoap import Message
from aiocoap.error import Error as CoapError
from aiocoap.numbers import codes
from OpenSSL import SSL

from fleet.agent.coap_exchange import BLOCK, EXPONENT, STATUS, CoapExchanges
from fleet.agent.errors import TransportError
from fleet.agent.steps import Steps, T
from fleet.simulator.transports.base import PATIENCE, Reach

CBOR = {"Content-Type": "application/cbor"}


class CoapLine(ABC):
    """One connection; subclasses define how a message becomes datagrams.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._exchanges = CoapExchanges(reach.source)

    @abstractmethod
    async def opened(self) -> None:
        """Open the connection if it is not open."""

    @abstractmethod
    async def drive(self, steps: Steps[T]) -> T:
        """Take the steps of an exchange over the connection. Return their result."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""

    async def ask(self, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> int:
        """Send one request. Return its HTTP status, or 0 without an answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.opened()
                if slow:
                    await asyncio.sleep(1)
                answer = await self._sent(method, path, body)
        except (OSError, TimeoutError, SSL.Error, CoapError, TransportError, ValueError):
            self.close()
            return 0
        if answer.code == codes.CHANGED and not answer.payload:
            return 204
        return STATUS.get(answer.code, 500)

    async def break_off(self, path: str, body: bytes) -> None:
        """Send only the first block of a body."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.opened()
                first = self._exchanges.request("POST", path, CBOR, body[: min(BLOCK, max(len(body) // 2, 16))])
                first.opt.block1 = (0, True, EXPONENT)
                await self.drive(_once(bytes(first.encode())))
        except (OSError, TimeoutError, SSL.Error, TransportError):
            pass
        self.lose(half_open=True)

    def lose(self, *, half_open: bool) -> None:
        """Disappear; over UDP the server cannot notice it."""
        del half_open
        self.close()

    async def _sent(self, method: str, path: str, body: bytes) -> Message:
        for part in self._exchanges.uploads(method, path, CBOR if body else {}, body):
            answer = await self.drive(self._exchanges.ask(part))
            if answer.code != codes.CONTINUE:
                break
        return answer


def _once(message: bytes) -> Steps[None]:
    """Send a message, whatever comes back."""
    yield message
