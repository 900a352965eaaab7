"""Rate limits of certificates and networks at one listener.

An authenticated client (certificate, token, session) is counted by its credential alone. Networks are charged only for
failed or unauthenticated requests, so that other clients behind the same address cannot lock out a fleet.
"""

import math

from fleet.wire.buckets import Buckets
from fleet.wire.networks import network_of

#: cost of a failed request of a certificate, in successful requests
FAILED_COST = 10.0
#: cost for a network of public reads: CA certificates, revocation lists, a sign-in page
PUBLIC_COST = 0.05
#: capacity of a certificate's bucket, in seconds of the sustained rate
BURST_SECONDS = 20.0
DETAIL = "Too many requests. Wait for the time in Retry-After, then try again."
#: statuses that are not the fault of the client
_OURS = frozenset({429, 500, 503})
#: accepted, to be requested again later
_PENDING, _FIRST_FAILURE = 202, 400


class Rates:
    """The rate limits of one listener process.

    Args:
        a_certificate: sustained requests per second of one certificate; 0 for no limit.
        a_network: failed or unauthenticated requests per minute of one network; 0 for no limit.
    """

    def __init__(self, a_certificate: float, a_network: float) -> None:
        self._certificates = Buckets(a_certificate, a_certificate * BURST_SECONDS) if a_certificate else None
        self._networks = Buckets(a_network / 60, a_network) if a_network else None

    def wait(self, fingerprint: str, address: str) -> int:
        """Return the seconds until the client may retry; 0 if the request is allowed."""
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
            fingerprint: fingerprint of the client certificate, or empty.
            address: address of the client.
            status: HTTP status of the answer.
            proved: whether a token or a session was valid.
            safe: whether the request was read-only.
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
