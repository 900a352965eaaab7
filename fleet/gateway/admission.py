"""Admission control before TLS: in a reconnect storm, every handshake that starts also completes.

A handshake costs as much as a hundred polls. Connections above the capacity of the processor wait without a handshake.
Networks take turns, and networks with an authenticated client in the last hour get most turns: a fleet behind one
address is one network, and an attacker may have thousands. A connection without a complete first TLS record
(ClientHello) costs only a socket, and a client that has disconnected costs no handshake.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from fleet.wire import limits
from fleet.wire.fair_queue import FairQueue
from fleet.wire.networks import network_of
from fleet.wire.proven_networks import ProvenNetworks

#: most concurrent handshakes; a stalled one frees its slot after a second
MOST_HANDSHAKES, PLACE_SECONDS = 256, 1.0
#: most sockets without a complete first record; the oldest of the network with the most sockets is evicted
MOST_SILENT, SILENT_SECONDS = 2000, 10.0
#: interval and number of closes of silent sockets
SWEEP_SECONDS, SWEPT_AT_ONCE = 0.05, 50
#: head of a TLS record (RFC 8446, 5.1): type, version, length; the longest one that a ClientHello may fill
RECORD_HEAD, HANDSHAKE, LONGEST_RECORD = 5, 0x16, 1 << 14
#: longest wait in the queue in seconds, estimated from the recent handshake rate. Further connections are refused at
#: once, which is cheap: the client retries later. A client that waits until its own timeout wastes a handshake.
WAIT_SECONDS, LEAST_QUEUED, FIRST_RATE, KEPT_OF_RATE = 3.0, 256, 300.0, 0.7
#: one of this many handshakes is for an unproven network, while both kinds wait
TURN_OF_OTHERS = 4
#: connections accepted, and handshakes started, per turn of the event loop; pause without file descriptors
AT_ONCE, BEGUN_AT_ONCE, PAUSE_SECONDS = 16, 4, 0.1
#: longest wait in the queue; clients have given up after that
QUEUE_SECONDS = 15.0
#: TCP_ESTABLISHED of TCP_INFO (include/net/tcp_states.h)
ESTABLISHED = 1
_logger = logging.getLogger("muster.admission")


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """A connection before its TLS handshake.

    Args:
        line: its socket, not blocking.
        network: network of the client, for limits.
        since: monotonic time at which it was accepted.
    """

    line: socket.socket
    network: str
    since: float


class AdmissionGate:
    """Accept the connections of one listener; has the interface of an asyncio server.

    Args:
        listener: bound and listening, not blocking.
        factory: makes the protocol of a connection.
        context: TLS context of the listener.
    """

    def __init__(
        self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext
    ) -> None:
        self._listener, self._factory, self._context = listener, factory, context
        self._loop = asyncio.get_running_loop()
        # Silent sockets, oldest first, and the same by network.
        self._silent: OrderedDict[Caller, None] = OrderedDict()
        self._silent_by_network: FairQueue[Caller] = FairQueue()
        self._proven = ProvenNetworks()
        # Sockets of proven networks, and of all others.
        self._queues: tuple[FairQueue[Caller], FairQueue[Caller]] = (FairQueue(), FairQueue())
        self._turn = 0
        self._admits = False
        self._busy = self._finished = self._turned_away = 0
        self._rate = FIRST_RATE
        self._paused: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # The kernel holds back most silent connections; the others wait here.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(SILENT_SECONDS))
        listener.setblocking(False)  # noqa: FBT003  because the socket module has no keyword for it
        self._loop.add_reader(listener, self._accept)
        self._timer = self._loop.call_later(1.0, self._each_second)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def retire(self) -> None:
        """Stop accepting, because another process takes over. Started handshakes continue."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listener)
        for caller in list(self._silent):
            self._drop(caller)

    @property
    def quiet(self) -> bool:
        """Return whether no connection waits or performs a handshake."""
        return not self._waits and not self._busy

    @property
    def _waits(self) -> bool:
        return any(self._queues)

    def close(self) -> None:
        """Stop accepting. Close connections whose handshake has not started."""
        self._timer.cancel()
        self._sweeper.cancel()
        self.retire()
        while caller := self._take():
            caller.line.close()

    async def wait_closed(self) -> None:
        """Wait for the running handshakes."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                line, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # such as no free file descriptors
                _logger.warning("a connection could not be accepted", extra={"cause": str(error)})
                self._pause()
                return
            line.setblocking(False)  # noqa: FBT003  because the socket module has no keyword for it
            caller = Caller(line, network_of(address[0]) if address else "", time.monotonic())
            if missing := _missing(line):
                self._await(caller, missing)
            else:
                self._enqueue(caller)
        self._admit()

    def _pause(self) -> None:
        """Stop accepting for a moment; the kernel queues the connections."""
        self._loop.remove_reader(self._listener)
        self._paused = self._loop.call_later(PAUSE_SECONDS, self._loop.add_reader, self._listener, self._accept)

    def _await(self, caller: Caller, bytes_wanted: int) -> None:
        """Wait for the rest of a first record. The kernel wakes us once, when all its bytes have arrived."""
        while len(self._silent) >= MOST_SILENT and (oldest := self._silent_by_network.make_room(newest=False)):
            self._drop(oldest)
        self._silent[caller] = None
        self._silent_by_network.add(caller.network, caller)
        caller.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, bytes_wanted)
        self._loop.add_reader(caller.line, self._speaks, caller)

    def _speaks(self, caller: Caller) -> None:
        """Queue a socket whose first record is complete, or whose client will send no more."""
        missing = _missing(caller.line)
        if missing and not _gone(caller.line):
            caller.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, missing)
            return
        self._forget(caller)
        if missing:
            caller.line.close()
            return
        caller.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._enqueue(caller)
        self._admit()

    def _enqueue(self, caller: Caller) -> None:
        queue = self._queues[caller.network not in self._proven]
        queue.add(caller.network, caller)
        # Refuse the last arrival of the network with the most connections.
        while len(queue) > self._room and (last := queue.make_room(newest=True)):
            self._turn_away(last.line)

    def _take(self) -> Caller | None:
        """Return the next connection to serve."""
        self._turn = (self._turn + 1) % TURN_OF_OTHERS
        proven, others = self._queues
        first, second = (others, proven) if self._turn == 0 else (proven, others)
        return first.take() or second.take()

    @property
    def _room(self) -> float:
        return max(LEAST_QUEUED, self._rate * WAIT_SECONDS)

    def _turn_away(self, line: socket.socket) -> None:
        """Close a connection with unread bytes: the kernel sends a reset, and the client notices at once."""
        self._turned_away += 1
        line.close()

    def _admit(self) -> None:
        """Start a few handshakes, now or after a turn of the event loop."""
        if not self._admits:
            self._admits = True
            self._loop.call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._admits = False
        begun = 0
        while begun < BEGUN_AT_ONCE and self._busy < MOST_HANDSHAKES and (caller := self._take()):
            if time.monotonic() - caller.since > QUEUE_SECONDS or _gone(caller.line):
                caller.line.close()
                continue
            begun += 1
            self._busy += 1
            task = self._loop.create_task(self._shake(caller))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if begun == BEGUN_AT_ONCE:
            self._admit()

    async def _shake(self, caller: Caller) -> None:
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
                transport, _ = await self._loop.connect_accepted_socket(
                    self._factory,
                    caller.line,
                    ssl=self._context,
                    ssl_handshake_timeout=limits.HANDSHAKE_SECONDS,
                    ssl_shutdown_timeout=limits.CLOSE_SECONDS,
                )
                self._note(caller.network, transport)
            self._finished += 1
        finally:
            timer.cancel()
            give_back()

    def _note(self, network: str, transport: asyncio.Transport) -> None:
        """Mark the network of an authenticated client as proven; without client certificates, any handshake."""
        if self._context.verify_mode == ssl.CERT_NONE or transport.get_extra_info("peercert"):
            self._proven.add(network)

    def _each_second(self) -> None:
        if self._finished > self._rate or self._waits:
            self._rate = KEPT_OF_RATE * self._rate + (1 - KEPT_OF_RATE) * self._finished
        if self._turned_away:
            _logger.warning("connections were refused before TLS", extra={"connections": self._turned_away})
        self._finished = self._turned_away = 0
        self._timer = self._loop.call_later(1.0, self._each_second)

    def _sweep(self) -> None:
        """Close a few sockets that were silent for too long; a thousand at once would block the event loop."""
        limit = time.monotonic() - SILENT_SECONDS
        for caller in list(islice(self._silent, SWEPT_AT_ONCE)):
            if caller.since < limit:
                self._drop(caller)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _drop(self, caller: Caller) -> None:
        self._forget(caller)
        caller.line.close()

    def _forget(self, caller: Caller) -> None:
        self._loop.remove_reader(caller.line)
        self._silent.pop(caller, None)
        self._silent_by_network.remove(caller.network, caller)


def _missing(line: socket.socket) -> int:
    """Return how many bytes are needed to decide further; 0 if the first record is complete.

    Data that is not TLS counts as complete: the handshake refuses it at once.
    """
    try:
        head = line.recv(RECORD_HEAD, socket.MSG_PEEK)
        if head[:1] not in {b"", bytes([HANDSHAKE])}:
            return 0
        if len(head) < RECORD_HEAD:
            return RECORD_HEAD
        whole = RECORD_HEAD + int.from_bytes(head[3:])
        if whole > RECORD_HEAD + LONGEST_RECORD:
            return 0
        there = len(line.recv(whole, socket.MSG_PEEK))
    except BlockingIOError:
        return RECORD_HEAD
    except OSError:
        return 0
    return 0 if there == whole else whole


def _gone(line: socket.socket) -> bool:
    """Return whether the client has disconnected, even if its first bytes are still unread."""
    return line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
