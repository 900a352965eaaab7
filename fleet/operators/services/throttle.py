"""Count failed attempts before anything slow or telling is done, so that guessing is bounded and nobody is shut out.

Attempts are counted for a name from one network, and for the network as a whole: whoever guesses a person's password
elsewhere does not lock that person out. What succeeds is not counted. Rows end with their window, and their number is
bounded.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import F

from fleet.operators.models import Attempts
from pki.kernel import clock
from pki.kernel.errors import LimitedError

#: failed attempts within the window: for one name from one network, and from one network whatever the name
MOST_BY_NAME = 10
MOST_BY_NETWORK = 100
WINDOW = timedelta(minutes=10)
#: rows that are kept at most; beyond it those that end first go
MOST_ROWS = 50_000
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that was counted.

    Args:
        keys: of the rows that count it.
    """

    keys: tuple[str, ...]


def network_of(address: str) -> str:
    """Return the network that an address is counted under: an IPv4 address itself, the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)


def count_attempt(purpose: str, address: str, name: str = "") -> Attempt:
    """Count one attempt; call ``forget_attempt`` when it has succeeded.

    Args:
        purpose: what is tried, such as ``sign-in``.
        address: of the client.
        name: whose secret is tried, when the client says one.

    Raises:
        LimitedError: too many failed within ten minutes.
    """
    network = network_of(address)
    bounds = {f"{purpose}:{network}": MOST_BY_NETWORK}
    if name:
        bounds[f"{purpose}:{network}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"] = MOST_BY_NAME
    now = clock.now()
    with transaction.atomic():
        for key, most in bounds.items():
            row, made = Attempts.objects.get_or_create(key=key, defaults={"until": now + WINDOW})
            row = Attempts.objects.select_for_update().get(pk=row.pk)
            if row.until <= now:
                row.count, row.until = 0, now + WINDOW
            if row.count >= most:
                raise _limited(int((row.until - now).total_seconds()) + 1)
            row.count += 1
            row.save()
            if made:
                _prune_rows()
    return Attempt(tuple(bounds))


def forget_attempt(attempt: Attempt) -> None:
    """Take a successful attempt out of the counts; the person's own failures are forgotten with it."""
    network, *named = attempt.keys
    Attempts.objects.filter(key=network, count__gt=0).update(count=F("count") - 1)
    Attempts.objects.filter(key__in=named).delete()


def _prune_rows() -> None:
    Attempts.objects.filter(until__lte=clock.now()).delete()
    beyond = Attempts.objects.count() - MOST_ROWS
    if beyond > 0:
        oldest = list(Attempts.objects.order_by("until", "pk").values_list("pk", flat=True)[: min(beyond, 1000)])
        Attempts.objects.filter(pk__in=oldest).delete()


def _limited(seconds: int) -> LimitedError:
    msg = f"Too many failed attempts from this network. Try again in {seconds // 60 + 1} minutes."
    return LimitedError(msg, retry_after=seconds)
