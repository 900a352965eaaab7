"""The open connections of a listener by certificate and by network, and the choice of the one to evict."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from fleet.wire import limits
from fleet.wire.networks import network_of

#: seconds between the revocation of access and the close of the connections
LAST_WORD_SECONDS = 0.5


class Held(Protocol):
    """The record of a connection."""

    fingerprint: str
    address: str
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop


class Connections:
    """The shared state of the connections of one listener.

    Args:
        most_of_certificate: most open connections of one certificate.
        by_network: whether to limit the share of one network; not when all clients come through proxies.
    """

    def __init__(self, most_of_certificate: int = 32, *, by_network: bool = True) -> None:
        self._most_of_certificate, self._by_network = most_of_certificate, by_network
        # By certificate, oldest first; the empty name for clients without one, least recently answered first.
        self._open: dict[str, OrderedDict[Held, None]] = {}
        self._networks: dict[str, OrderedDict[Held, None]] = {}
        self.count = 0

    @property
    def full(self) -> bool:
        """Return whether no further connection can be accepted."""
        return self.count >= limits.MOST_OPEN

    def opened(self, connection: Held) -> None:
        """Add a connection; above the limit of its group it evicts another one."""
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
        """Record an answer to a client without a certificate: idle clients are evicted first."""
        if connection.fingerprint:
            return
        for held in (self._open.get(""), self._networks.get(network_of(connection.address))):
            if held is not None and connection in held:
                held.move_to_end(connection)

    def closed(self, connection: Held) -> None:
        """Remove a connection."""
        if self._forget(self._open, connection.fingerprint, connection):
            self.count -= 1
            if not connection.fingerprint:
                self._forget(self._networks, network_of(connection.address), connection)

    def fingerprints(self) -> set[str]:
        """Return the connected certificates; safe to call from another thread."""
        return set(self._open) - {""}

    def cut(self, fingerprints: Iterable[str]) -> None:
        """Close the connections of these certificates; call it in the thread of the event loop.

        Wait a moment: a pending request receives its refusal first, so that the device learns the reason.
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
