"""Networks from which handshakes have ended well not long ago."""

import time
from collections import OrderedDict

#: how long a network stays proven, and how many are remembered: the one that proved itself longest ago makes room
PROVEN_SECONDS, MOST_PROVEN = 3600.0, 16_384


class ProvenNetworks:
    """Remembers where real clients are, so that a storm from elsewhere does not delay them.

    An attacker can have many networks cheaply, but a certificate of this fleet in none of them.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, network: str) -> None:
        """Remember a network for another while."""
        self._until[network] = time.monotonic() + PROVEN_SECONDS
        self._until.move_to_end(network)
        if len(self._until) > MOST_PROVEN:
            self._until.popitem(last=False)

    def __contains__(self, network: str) -> bool:
        """Say whether a network has proved itself in the last hour."""
        return self._until.get(network, 0.0) > time.monotonic()
