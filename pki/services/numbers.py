"""Numbers that others compare and that never go back, not even when the database does."""

from typing import Any

from django.db import transaction

from pki.kernel import clock, monotone
from pki.models import MonotoneNumber, TrustDomain
from pki.services import journal

#: Small numbers are reserved in the journal in blocks, so that a restore jumps past all handed out.
BLOCK = 100


def following(*, domain: TrustDomain, name: str) -> int:
    """Return the next number under a name: max(last + 1, unix time)."""
    with transaction.atomic():
        row = _locked(domain, name)
        row.value = monotone.next_after(row.value, clock.unix())
        row.save(update_fields=["value"])
    return row.value


def following_small(*, domain: TrustDomain, name: str, above: int = 0) -> int:
    """Return the next small number under a name: 1, 2, 3, … (DDI action ids must fit 31 bits).

    Args:
        domain: whose number.
        name: what is counted.
        above: the number is higher than this, too.
    """
    with transaction.atomic():
        row = _locked(domain, name)
        number = max(row.value, above) + 1
        block = (number - 1) // BLOCK
        if block != (row.value - 1) // BLOCK:
            journal.append("number-block", domain=domain.slug, name=name, below=(block + 1) * BLOCK + 1)
        row.value = number
        row.save(update_fields=["value"])
    return number


def raise_to(fact: dict[str, Any]) -> bool:
    """Raise a small number past the block that a journal fact reserved (after a restore)."""
    domain = TrustDomain.objects.filter(slug=fact["domain"]).first()
    if domain is None:
        return False
    with transaction.atomic():
        row = _locked(domain, fact["name"])
        if row.value >= fact["below"] - 1:
            return False
        row.value = fact["below"] - 1
        row.save(update_fields=["value"])
    return True


def _locked(domain: TrustDomain, name: str) -> MonotoneNumber:
    MonotoneNumber.objects.get_or_create(domain=domain, name=name, defaults={"value": 0})
    return MonotoneNumber.objects.select_for_update().get(domain=domain, name=name)
