"""Admission before TLS: in a storm of reconnecting devices, handshakes that begin are handshakes that end.

A handshake costs a hundred polls. When more connections come than the processor can serve, they wait in their order
without one; a silent connection costs a socket and nothing else, and whoever has hung up meanwhile costs no handshake.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress

from fleet.wire import limits

#: handshakes that are under way at once; one that stalls gives its place back after a second
MOST_HANDSHAKES, PLACE_SECONDS = 256, 1.0
#: sockets that have not said anything yet; the oldest make room
MOST_SILENT, SILENT_SECONDS = 2000, 10.0
#: the queue is as long as can be served within these seconds, by the rate of the last ones; further ones are turned
#: away at once, which costs next to nothing: a client that is told soon comes again later, one that waits in vain for
#: its own deadline costs a handshake for nobody
WAIT_SECONDS, LEAST_QUEUED, FIRST_RATE, KEPT_OF_RATE = 3.0, 256, 300.0, 0.7
#: accepted in one go, and how long to pause when there are no file descriptors
AT_ONCE, PAUSE_SECONDS = 64, 0.1
#: who has waited longer in the queue has given up
QUEUE_SECONDS = 15.0
#: of TCP_INFO: both ends are there (include/net/tcp_states.h)
ESTABLISHED = 1
_logger = logging.getLogger("muster.admission")


class Gate:
    """Accepts for one door; looks like a server to whoever closes it.

    Args:
        listener: bound and listening, not blocking.
        factory: makes the protocol of a connection.
        context: of the door.
    """

    def __init__(
        self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext
    ) -> None:
        self._listener, self._factory, self._context = listener, factory, context
        self._loop = asyncio.get_running_loop()
        self._silent: OrderedDict[socket.socket, float] = OrderedDict()
        self._queue: deque[tuple[socket.socket, float]] = deque()
        self._busy = self._finished = self._turned_away = 0
        self._rate = FIRST_RATE
        self._paused: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # The kernel keeps most silent connections to itself; those that it hands over nevertheless wait here.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(SILENT_SECONDS))
        listener.setblocking(False)  # noqa: FBT003  because the socket module has no keyword for it
        self._loop.add_reader(listener, self._accept)
        self._timer = self._loop.call_later(1.0, self._each_second)

    def retire(self) -> None:
        """Accept nothing more: another process does. Whoever has begun goes on."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listener)
        for one in list(self._silent):
            self._drop(one)

    @property
    def quiet(self) -> bool:
        """Say whether nobody is on the way in."""
        return not self._queue and not self._busy

    def close(self) -> None:
        """Accept nothing more; what has no handshake yet is closed."""
        self._timer.cancel()
        self.retire()
        while self._queue:
            self._queue.popleft()[0].close()

    async def wait_closed(self) -> None:
        """Wait for handshakes that are under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                peer, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # no file descriptors are left, for one
                _logger.warning("a connection could not be accepted", extra={"cause": str(error)})
                self._pause()
                return
            if self._full:
                self._turn_away(peer)
                continue
            peer.setblocking(False)  # noqa: FBT003  because the socket module has no keyword for it
            if _waits(peer):
                self._enqueue(peer)
                continue
            while len(self._silent) >= MOST_SILENT:
                self._drop(next(iter(self._silent)))
            self._silent[peer] = time.monotonic()
            self._loop.add_reader(peer, self._speaks, peer)
        self._admit()

    def _pause(self) -> None:
        """Leave further connections with the kernel for a moment."""
        self._loop.remove_reader(self._listener)
        self._paused = self._loop.call_later(PAUSE_SECONDS, self._loop.add_reader, self._listener, self._accept)

    def _speaks(self, peer: socket.socket) -> None:
        """Queue a socket whose first bytes are there."""
        self._loop.remove_reader(peer)
        self._silent.pop(peer, None)
        self._enqueue(peer)
        self._admit()

    def _enqueue(self, peer: socket.socket) -> None:
        if self._full:
            self._turn_away(peer)
        else:
            self._queue.append((peer, time.monotonic()))

    @property
    def _full(self) -> bool:
        return len(self._queue) >= max(LEAST_QUEUED, self._rate * WAIT_SECONDS)

    def _turn_away(self, peer: socket.socket) -> None:
        """Close a connection whose first bytes nobody has read: the kernel resets it, and the client knows at once."""
        self._turned_away += 1
        peer.close()

    def _admit(self) -> None:
        while self._queue and self._busy < MOST_HANDSHAKES:
            peer, since = self._queue.popleft()
            if time.monotonic() - since > QUEUE_SECONDS or _gone(peer):
                peer.close()
                continue
            self._busy += 1
            task = self._loop.create_task(self._shake(peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _shake(self, peer: socket.socket) -> None:
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._busy -= 1
                self._admit()

        timer = self._loop.call_later(PLACE_SECONDS, give_back)
        try:
            with suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
                await self._loop.connect_accepted_socket(
                    self._factory, peer, ssl=self._context, ssl_handshake_timeout=limits.HANDSHAKE_SECONDS
                )
            self._finished += 1
        finally:
            timer.cancel()
            give_back()

    def _each_second(self) -> None:
        if self._finished > self._rate or self._queue:
            self._rate = KEPT_OF_RATE * self._rate + (1 - KEPT_OF_RATE) * self._finished
        if self._turned_away:
            _logger.warning("connections were turned away before TLS", extra={"connections": self._turned_away})
        self._finished = self._turned_away = 0
        limit = time.monotonic() - SILENT_SECONDS
        while self._silent and next(iter(self._silent.values())) < limit:
            self._drop(next(iter(self._silent)))
        self._timer = self._loop.call_later(1.0, self._each_second)

    def _drop(self, peer: socket.socket) -> None:
        self._silent.pop(peer, None)
        self._loop.remove_reader(peer)
        peer.close()


def _waits(peer: socket.socket) -> bool:
    """Say whether the first bytes of a connection are there."""
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _gone(peer: socket.socket) -> bool:
    """Say whether the other end has hung up, though its first bytes may still lie here unread."""
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
