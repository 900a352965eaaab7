"""How often a certificate and a network may ask at one listener.

Whoever has proved who it is (a certificate, a token, a session) is counted by that alone. Networks are charged for
requests that failed or came from nobody, so that a fleet behind one address is never shut out by its neighbours.
"""

import math

from fleet.wire.buckets import Buckets
from fleet.wire.networks import network_of

#: a failed request of somebody who is known costs as much as so many good ones
FAILED_COST = 10.0
#: seconds of the sustained rate that a bucket holds
BURST_SECONDS = 20.0
DETAIL = "Too many requests. Wait as long as Retry-After says."
#: statuses that are no fault of whoever asks
_BLAMELESS = frozenset({202, 304, 408, 413, 429, 500, 503})
FIRST_FAILURE = 400


class Rates:
    """The buckets of one listener's process.

    Args:
        a_certificate: requests a second that one certificate may sustain; 0: no limit.
        a_network: failed or unauthenticated requests a minute of one network; 0: no limit.
    """

    def __init__(self, a_certificate: float, a_network: float) -> None:
        self._certificates = Buckets(a_certificate, a_certificate * BURST_SECONDS) if a_certificate else None
        self._networks = Buckets(a_network / 60, a_network) if a_network else None

    def wait(self, fingerprint: str, address: str) -> int:
        """Return after how many seconds to come again; 0: the request is welcome."""
        if fingerprint:
            seconds = self._certificates.wait(fingerprint) if self._certificates else 0.0
        else:
            seconds = self._networks.wait(network_of(address)) if self._networks else 0.0
        return math.ceil(seconds)

    def crowded(self, address: str) -> bool:
        """Say whether a network has used up what it may ask without a proof."""
        return self._networks is not None and self._networks.wait(network_of(address)) > 0

    def answered(self, fingerprint: str, address: str, status: int, *, proved: bool = False) -> None:
        """Charge for an answer.

        Args:
            fingerprint: of the certificate that was shown, or empty.
            address: of the client.
            status: of the answer, as HTTP has it.
            proved: whether a token or a session was good.
        """
        failed = status >= FIRST_FAILURE and status not in _BLAMELESS
        if fingerprint:
            if self._certificates is not None:
                self._certificates.charge(fingerprint, FAILED_COST if failed else 1.0)
        elif self._networks is not None and not proved and status not in _BLAMELESS:
            self._networks.charge(network_of(address), 1.0)

    def charge(self, address: str, cost: float) -> None:
        """Charge a network with something else than a whole request."""
        if self._networks is not None:
            self._networks.charge(network_of(address), cost)

    def prune(self) -> None:
        """Forget the buckets that are full again."""
        for one in (self._certificates, self._networks):
            if one is not None:
                one.prune()
