"""Limit failed sign-in attempts without locking accounts.

Each attempt is counted before any slow or revealing operation, for a name from one network and for the network as a
whole. An attacker in another network therefore cannot lock a person out. Successful attempts do not count. Rows expire
with their time window, and their number is bounded.
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

#: maximum failed attempts within the window: for one name from one network, and for one network in total
MOST_BY_NAME = 10
MOST_BY_NETWORK = 100
WINDOW = timedelta(minutes=10)
#: maximum number of rows; beyond it, those that expire first are deleted
MOST_ROWS = 50_000
_IPV6_PREFIX = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """One counted attempt.

    Args:
        keys: keys of the rows that count it.
    """

    keys: tuple[str, ...]


def throttled_network(address: str) -> str:
    """Return the network that an address counts for: the IPv4 address itself, or the /64 of an IPv6 address."""
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
    """Count one attempt; call ``forget_attempt`` when it succeeds.

    Args:
        purpose: kind of attempt, such as ``sign-in``.
        address: IP address of the client.
        name: account name from the client, or empty.

    Raises:
        LimitedError: too many failed attempts within ten minutes.
    """
    network = throttled_network(address)
    bounds = {f"{purpose}:{network}": MOST_BY_NETWORK}
    if name:
        bounds[f"{purpose}:{network}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"] = MOST_BY_NAME
    now = clock.now()
    with transaction.atomic():
        for key, most in bounds.items():
            row, created = Attempts.objects.get_or_create(key=key, defaults={"until": now + WINDOW})
            row = Attempts.objects.select_for_update().get(pk=row.pk)
            if row.until <= now:
                row.count, row.until = 0, now + WINDOW
            if row.count >= most:
                raise _limited(int((row.until - now).total_seconds()) + 1)
            row.count += 1
            row.save()
            if created:
                _prune_rows()
    return Attempt(tuple(bounds))


def forget_attempt(attempt: Attempt) -> None:
    """Remove a successful attempt from the counts, with the earlier failures of the same name and network."""
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
    msg = f"Too many failed attempts from this network. Try again in {seconds // 60 + 1} min."
    return LimitedError(msg, retry_after=seconds)
