"""How often a certificate and a network may ask at one listener.

Whoever has proved who it is (a certificate, a token, a session) is counted by that alone. Networks are charged for
requests that failed or came from nobody, so that a fleet behind one address is never shut out by its neighbours.
"""

import math

from fleet.wire.buckets import Buckets
from fleet.wire.networks import network_of

#: a failed request of a certificate costs as much as so many good ones
FAILED_COST = 10.0
#: what a network pays for reading what is public: CA certificates, revocation lists, a sign-in page
PUBLIC_COST = 0.05
#: seconds of the sustained rate that the bucket of a certificate holds
BURST_SECONDS = 20.0
DETAIL = "Too many requests. Wait as long as Retry-After says, then try again."
#: statuses that are no fault of whoever asks
_OURS = frozenset({429, 500, 503})
#: accepted, and to be asked for again
_PENDING, _FIRST_FAILURE = 202, 400


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

    def answered(
        self, fingerprint: str, address: str, status: int, *, proved: bool = False, safe: bool = False
    ) -> None:
        """Charge for an answer.

        Args:
            fingerprint: of the certificate that was shown, or empty.
            address: of the client.
            status: of the answer, as HTTP has it.
            proved: whether a token or a session was good.
            safe: whether the request only read something.
        """
        if status in _OURS:
            return
        failed = status >= _FIRST_FAILURE
        if fingerprint:
            if self._certificates is not None:
                self._certificates.charge(fingerprint, FAILED_COST if failed else 1.0)
        elif self._networks is not None and not proved:
            public = not failed and (safe or status == _PENDING)
            self._networks.charge(network_of(address), PUBLIC_COST if public else 1.0)
