"""Networks with recent successful handshakes."""

import time
from collections import OrderedDict

#: seconds that a network stays proven, and largest number of networks; the oldest is evicted
PROVEN_SECONDS, MOST_PROVEN = 3600.0, 16_384


class ProvenNetworks:
    """Track the networks of real clients, so that a connection storm from elsewhere does not delay them.

    An attacker can use many networks, but has no certificate of this fleet.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, network: str) -> None:
        """Mark a network as proven."""
        self._until[network] = time.monotonic() + PROVEN_SECONDS
        self._until.move_to_end(network)
        if len(self._until) > MOST_PROVEN:
            self._until.popitem(last=False)

    def __contains__(self, network: str) -> bool:
        """Return whether a network was proven in the last hour."""
        return self._until.get(network, 0.0) > time.monotonic()
