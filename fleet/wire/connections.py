"""Which connections of a listener are open, by certificate and by network, and which of them makes room."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from fleet.wire import limits
from fleet.wire.networks import network_of

#: between the news that a certificate may not stay connected and the end of its connections
LAST_WORD_SECONDS = 0.5


class Held(Protocol):
    """What is kept of a connection."""

    fingerprint: str
    address: str
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop


class Connections:
    """What the connections of one listener share.

    Args:
        most_of_certificate: that one certificate may hold open.
        by_network: whether one network may hold a part of the places only; not where all come through proxies.
    """

    def __init__(self, most_of_certificate: int = 32, *, by_network: bool = True) -> None:
        self._most_of_certificate, self._by_network = most_of_certificate, by_network
        # By certificate, oldest first; the empty name for all who have shown none, answered longest ago first.
        self._open: dict[str, OrderedDict[Held, None]] = {}
        self._networks: dict[str, OrderedDict[Held, None]] = {}
        self.count = 0

    @property
    def full(self) -> bool:
        """Say whether no further connection can be taken."""
        return self.count >= limits.MOST_OPEN

    def opened(self, connection: Held) -> None:
        """Remember a connection; one that is too many of its kind takes another one's place."""
        held = self._open.setdefault(connection.fingerprint, OrderedDict())
        held[connection] = None
        self.count += 1
        most = self._most_of_certificate if connection.fingerprint else limits.MOST_UNNAMED
        if len(held) > most:
            self._end(next(iter(held)))
        if not connection.fingerprint and self._by_network:
            near = self._networks.setdefault(network_of(connection.address), OrderedDict())
            near[connection] = None
            if len(near) > limits.MOST_OF_NETWORK:
                self._end(next(iter(near)))

    def answered(self, connection: Held) -> None:
        """Remember that somebody without a certificate got an answer: who only waits makes room first."""
        if connection.fingerprint:
            return
        for held in (self._open.get(""), self._networks.get(network_of(connection.address))):
            if held is not None and connection in held:
                held.move_to_end(connection)

    def closed(self, connection: Held) -> None:
        """Forget a connection."""
        if self._forget(self._open, connection.fingerprint, connection):
            self.count -= 1
            if not connection.fingerprint:
                self._forget(self._networks, network_of(connection.address), connection)

    def fingerprints(self) -> set[str]:
        """Return which certificates are connected; safe from another thread."""
        return set(self._open) - {""}

    def cut(self, fingerprints: Iterable[str]) -> None:
        """Close what these certificates have open now; in the loop's thread.

        Not at once: a request that is under way gets its refusal first, so that the device knows why.
        """
        for fingerprint in fingerprints:
            for connection in tuple(self._open.get(fingerprint, ())):
                connection.loop.call_later(LAST_WORD_SECONDS, connection.transport.abort)

    def _end(self, connection: Held) -> None:
        self.closed(connection)
        connection.transport.abort()

    @staticmethod
    def _forget(groups: dict[str, OrderedDict[Held, None]], name: str, connection: Held) -> bool:
        held = groups.get(name)
        if held is None or connection not in held:
            return False
        del held[connection]
        if not held:
            del groups[name]
        return True
