"""How often devices and strangers may ask the device gateway over HTTPS; the cheapest refusal comes first."""

import base64
import hashlib
from dataclasses import dataclass

from django.conf import settings

from devices.proofs import token
from fleet.gateway.protocol import Request
from fleet.gateway.workers import Workers
from fleet.wire.networks import Trusted, network_of
from fleet.wire.rates import Rates

#: characters of an Authorization field that are looked at
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is charged for a request.

    Args:
        key: of the certificate, shown in the handshake or handed on by a listed proxy; empty for nobody.
        address: of the client, as far as listed proxies tell it.
    """

    key: str
    address: str


class Limiter:
    """The rates of one gateway process.

    Args:
        workers: threads for what needs the database.
        trusted: proxies whose word about addresses and certificates is taken.
    """

    def __init__(self, workers: Workers, trusted: Trusted) -> None:
        self._rates = Rates(settings.FLEET_REQUESTS_A_DEVICE, settings.FLEET_STRANGERS_A_MINUTE)
        self._workers, self._trusted = workers, trusted
        self._checking: set[str] = set()

    def asker(self, request: Request) -> Asker:
        """Return who is charged for a request."""
        address = self._trusted.client_of(request.peer.address, request.forwarded)
        key = request.peer.fingerprint
        if request.claims and not key and self._trusted.lists(request.peer.address):
            key = hashlib.sha256(b"\n".join(value for _, value in request.claims)).hexdigest()
        return Asker(key, address)

    async def wait(self, who: Asker, request: Request) -> int:
        """Return after how many seconds to come again; 0: the request is welcome.

        A network that has used up its requests without a proof is still served when it shows an enrolment token that
        exists; one look-up at a time.
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

    def answered(self, who: Asker, request: Request, status: int, *, proved: bool) -> None:
        """Charge for an answer."""
        safe = request.method in {"GET", "HEAD"}
        self._rates.answered(who.key, who.address, status, proved=proved, safe=safe)


def _secret(field: str) -> str:
    """Return the token that a request shows, by HTTP Basic or Bearer; empty for anything else."""
    scheme, _, value = field.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode("latin-1").partition(":")[2]
    except ValueError:  # no base64, or no ASCII
        return ""
