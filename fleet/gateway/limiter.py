"""Rate limits of the device gateway over HTTPS; the cheapest check comes first."""

import base64
import hashlib
from dataclasses import dataclass

from django.conf import settings

from devices.proofs import token
from fleet.gateway.protocol import DeviceRequest
from fleet.gateway.workers import Workers
from fleet.wire.networks import Trusted, network_of
from fleet.wire.rates import Rates

#: longest Authorization field that is parsed, in characters
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Asker:
    """The client that is charged for a request.

    Args:
        key: fingerprint of its certificate, from the handshake or a listed proxy; empty without one.
        address: address of the client, as reported by listed proxies.
    """

    key: str
    address: str


class Limiter:
    """The rates of one gateway process.

    Args:
        workers: threads for database access.
        trusted: proxies that are trusted for addresses and certificates.
    """

    def __init__(self, workers: Workers, trusted: Trusted) -> None:
        self._rates = Rates(settings.FLEET_REQUESTS_A_DEVICE, settings.FLEET_STRANGERS_A_MINUTE)
        self._workers, self._trusted = workers, trusted
        self._checking: set[str] = set()

    def asker(self, request: DeviceRequest) -> Asker:
        """Return the client that is charged for a request."""
        address = self._trusted.client_of(request.peer.address, request.forwarded)
        key = request.peer.fingerprint
        if request.claims and not key and self._trusted.lists(request.peer.address):
            key = hashlib.sha256(b"\n".join(value for _, value in request.claims)).hexdigest()
        return Asker(key, address)

    async def wait(self, who: Asker, request: DeviceRequest) -> int:
        """Return the seconds until the client may retry; 0 if the request is allowed.

        A network above its limit of unauthenticated requests is still served with an existing enrolment token; one
        token is checked at a time.
        """
        seconds = self._rates.wait(who.key, who.address)
        if not seconds or who.key:
            return seconds
        secret, network = _secret(request.headers.get("authorization", "")[:LONGEST]), network_of(who.address)
        if not secret or network in self._checking:
            return seconds
        self._checking.add(network)
        try:
            known = await self._workers.run(lambda: token.is_known(secret))
        finally:
            self._checking.discard(network)
        return 0 if known else seconds

    def answered(self, who: Asker, request: DeviceRequest, status: int, *, proved: bool) -> None:
        """Charge for an answer."""
        safe = request.method in {"GET", "HEAD"}
        self._rates.answered(who.key, who.address, status, proved=proved, safe=safe)


def _secret(field: str) -> str:
    """Return the token of HTTP Basic or Bearer; empty for anything else."""
    scheme, _, value = field.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode("latin-1").partition(":")[2]
    except ValueError:  # not base64, or not ASCII
        return ""
