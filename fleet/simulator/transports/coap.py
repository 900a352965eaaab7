"""CoAP of a simulated device: confirmable messages, retransmission as in RFC 7252, and block-wise transfer."""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod

from aiocoap import Message
from aiocoap.error import Error as CoapError
from aiocoap.numbers import codes, types
from OpenSSL import SSL

from fleet.agent.coap import ACK_SECONDS, ATTEMPTS, BLOCK, EXPONENT, FACTOR, METHODS, STATUS
from fleet.agent.errors import TransportError
from fleet.simulator.transports.base import PATIENCE, Reach

CBOR_FORMAT = 60


class CoapLine(ABC):
    """One connection; subclasses define how a message becomes datagrams.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._mid = secrets.randbelow(1 << 16)

    @abstractmethod
    async def opened(self) -> None:
        """Open the connection if it is not open."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message. A retransmission must be the same datagram, because the server detects replays."""

    @abstractmethod
    async def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None on a timeout."""

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
                first = self._request("POST", path, body[: min(BLOCK, max(len(body) // 2, 16))])
                first.opt.block1 = (0, True, EXPONENT)
                self.send(first)
        except (OSError, TimeoutError, SSL.Error, TransportError):
            pass
        self.lose(half_open=True)

    def lose(self, *, half_open: bool) -> None:
        """Disappear; over UDP the server cannot notice it."""
        del half_open
        self.close()

    async def _sent(self, method: str, path: str, body: bytes) -> Message:
        if len(body) <= BLOCK:
            return await self._exchange(self._request(method, path, body))
        count = -(-len(body) // BLOCK)
        for number in range(count):
            part = self._request(method, path, body[number * BLOCK : (number + 1) * BLOCK])
            part.opt.block1 = (number, number + 1 < count, EXPONENT)
            answer = await self._exchange(part)
            if answer.code != codes.CONTINUE:
                break
        return answer

    def _request(self, method: str, path: str, body: bytes) -> Message:
        self._mid = (self._mid + 1) & 0xFFFF
        made = Message(code=METHODS[method], payload=body, _mtype=types.CON, _mid=self._mid)
        made.token = secrets.token_bytes(4)
        made.opt.uri_path = path.strip("/").split("/")
        if body:
            made.opt.content_format = CBOR_FORMAT
        return made

    async def _exchange(self, message: Message) -> Message:
        wait = ACK_SECONDS * self.reach.source.uniform(1, FACTOR)
        for _ in range(ATTEMPTS):
            self.send(message)
            if (answer := await self._heard(message, wait)) is not None:
                return answer
            wait *= 2
        msg = "the server does not answer"
        raise TransportError(msg)

    async def _heard(self, message: Message, wait: float) -> Message | None:
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            answer = await self.receive(left)
            if answer is None:
                return None
            if answer.mtype is types.RST and answer.mid == message.mid:
                msg = "the server rejected this message (reset)"
                raise TransportError(msg)
            if answer.token == message.token and answer.code.is_response():
                if answer.mtype is types.CON:
                    self.send(Message(code=codes.EMPTY, _mtype=types.ACK, _mid=answer.mid))
                return answer
        return None
