"""Numbers that others compare: they never decrease, even after a restore of the database."""

from django.db import transaction

from pki.kernel import clock, intake, monotone
from pki.models import MonotoneNumber, TrustDomain
from pki.services import journal

#: Small numbers are reserved in the journal in blocks, so that a restore skips all numbers already issued.
BLOCK = 100


def next_number(*, domain: TrustDomain, name: str) -> int:
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
    return reserve_small(domain=domain, name=name, many=1, above=above)[0]


def reserve_small(*, domain: TrustDomain, name: str, many: int, above: int = 0) -> range:
    """Return the next ``many`` small numbers under a name; those that the caller does not use are lost.

    Call this outside the transaction that uses the numbers: on PostgreSQL the counter's row stays locked until the
    transaction ends, and every enrolment, repair and rollout of the domain waits for it.
    """
    with transaction.atomic():
        row = _locked(domain, name)
        first = max(row.value, above) + 1
        last = first + many - 1
        block = (last - 1) // BLOCK
        if block != (row.value - 1) // BLOCK:
            journal.append_fact("number-block", domain=domain.slug, name=name, below=(block + 1) * BLOCK + 1)
        row.value = last
        row.save(update_fields=["value"])
    return range(first, last + 1)


def raise_to(fact: journal.Fact) -> bool:
    """Raise a small number past the block that a journal fact reserved (after a restore)."""
    domain = TrustDomain.objects.filter(slug=fact["domain"]).first()
    if domain is None:
        return False
    with transaction.atomic():
        row = _locked(domain, journal.text_of(fact, "name"))
        below = intake.check_integer(fact["below"], "below")
        if row.value >= below - 1:
            return False
        row.value = below - 1
        row.save(update_fields=["value"])
    return True


def _locked(domain: TrustDomain, name: str) -> MonotoneNumber:
    MonotoneNumber.objects.get_or_create(domain=domain, name=name, defaults={"value": 0})
    return MonotoneNumber.objects.select_for_update().get(domain=domain, name=name)
