"""A UDP socket on a bad network: datagrams are lost, duplicated or reordered in both directions."""

import asyncio
import random
import time
from collections import Counter

FAULTS = ("loss", "repeat", "shuffle")
#: share of datagrams with a fault
SHARE = 0.1
MOST_WAITING = 256


class BadNetwork:
    """The faults of one direction.

    Args:
        faults: names from ``FAULTS``.
        source: random source.
        played: counter of injected faults.
    """

    def __init__(self, faults: tuple[str, ...], source: random.Random, played: Counter[str]) -> None:
        self._faults, self._source, self._played = faults, source, played
        self._held: bytes | None = None

    def passes(self, datagram: bytes) -> list[bytes]:
        """Return the datagrams to deliver now; a delayed datagram follows the next one."""
        held, self._held = self._held, None
        later = [held] if held is not None else []
        if not self._faults or self._source.random() > SHARE:
            return [datagram, *later]
        fault = self._source.choice(self._faults)
        self._played[fault] += 1
        if fault == "loss":
            return later
        if fault == "repeat":
            return [datagram, datagram, *later]
        self._held = datagram
        return later


class Datagrams(asyncio.DatagramProtocol):
    """A connected UDP socket.

    Args:
        faults: names from ``FAULTS``.
        source: random source.
        played: counter of injected faults.
    """

    _transport: asyncio.DatagramTransport

    def __init__(self, faults: tuple[str, ...], source: random.Random, played: Counter[str]) -> None:
        self._out, self._in = (BadNetwork(faults, source, played) for _ in range(2))
        self._came: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio says which kind by the protocol

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """Queue a received datagram; a socket that is not read loses datagrams."""
        for passed in self._in.passes(data):
            if not self._came.full():
                self._came.put_nowait(passed)

    async def send(self, datagram: bytes) -> None:
        """Send one datagram."""
        for passed in self._out.passes(datagram):
            self._transport.sendto(passed)

    async def receive(self, until: float) -> bytes | None:
        """Return the next datagram, or None after the deadline (monotonic seconds)."""
        left = until - time.monotonic()
        if left <= 0:
            return None
        try:
            async with asyncio.timeout(left):
                return await self._came.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        """Close the socket."""
        self._transport.abort()


async def open_datagrams(
    address: tuple[str, int], faults: tuple[str, ...], source: random.Random, played: Counter[str]
) -> Datagrams:
    """Return a connected socket."""
    loop = asyncio.get_running_loop()
    _, datagrams = await loop.create_datagram_endpoint(lambda: Datagrams(faults, source, played), remote_addr=address)
    return datagrams
