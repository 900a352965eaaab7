"""Answer requests in a few threads, because Django's database calls would block the event loop of the transport."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import close_old_connections, connections

from fleet.gateway import codec, protocol
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from fleet.observe import request_id
from pki.kernel.errors import LimitedError

T = TypeVar("T")
THREADS = 4
MOST_WAITING = 512
#: Retry-After of rejected requests in seconds, with jitter so that they do not return together
COME_AGAIN = (3, 15)
ProtocolAdapters = tuple[tuple[protocol.ProtocolAdapter, protocol.Renderer], ...]


class Workers:
    """The threads of one listener.

    Args:
        name: name of the threads.
        adapters: protocol adapters of the transport.
    """

    def __init__(self, name: str, adapters: ProtocolAdapters) -> None:
        self._pool = ThreadPoolExecutor(THREADS, name)
        self._adapters = adapters
        self._waiting = 0

    async def answer(self, request: DeviceRequest) -> Reply:
        """Answer a request, or refuse at once if too many wait."""
        if self._waiting >= MOST_WAITING:
            error = LimitedError("The server is busy. Try again in a moment.", retry_after=random.uniform(*COME_AGAIN))  # noqa: S311  because jitter needs no secure randomness
            return codec.encode_refusal(request, ResponseOutcome.UNAVAILABLE, error)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._in_thread, request, request_id.get())
        finally:
            self._waiting -= 1

    async def run(self, act: Callable[[], T]) -> T:
        """Run a function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, act)

    def close(self) -> None:
        """End the threads when they are done."""
        self._pool.shutdown()

    def _in_thread(self, request: DeviceRequest, identifier: str) -> Reply:
        token = request_id.set(identifier)
        close_old_connections()
        try:
            return protocol.answer_request(request, self._adapters)
        finally:
            request_id.reset(token)
            if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
                connections.close_all()
