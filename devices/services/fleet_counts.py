"""Maintain the counts of the overview page: record changes, sum them, compare them with the tables."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from django.db import transaction
from django.db.models import Count, F, QuerySet, Sum, Value

from devices.contact_words import OUT_OF_SERVICE
from devices.models import Device, FleetCount, Incident
from pki.models import TrustDomain, prepared_sql

#: rows that one commit sums
FOLDED = 1000
#: up to this many rows stay: summing them would save a reader nothing
FEW = 24
_KINDS = FleetCount.Kind
_logger = logging.getLogger(__name__)


def note_count(domain_id: int, kind: str, delta: int) -> None:
    """Note a change of one count, in the transaction that changes what is counted."""
    prepared_sql.insert_row(FleetCount, domain_id=domain_id, kind=kind, delta=delta)


def note_counts(deltas: Mapping[tuple[int, str], int]) -> None:
    """Note changes of several counts, by domain (internal id) and kind, in the transaction that makes them."""
    rows = [(domain, kind, delta) for (domain, kind), delta in sorted(deltas.items()) if delta]
    if rows:
        prepared_sql.create_many(FleetCount, ("domain_id", "kind", "delta"), rows)


def fold_counts(*, domain: TrustDomain) -> int:
    """Sum the rows of each kind into one row, in small commits; return the number of removed rows."""
    gone = 0
    while len(FleetCount.objects.filter(domain=domain).values_list("id")[: FEW + 1]) > FEW:
        gone += _fold_some(domain)
    return gone


def _fold_some(domain: TrustDomain) -> int:
    with transaction.atomic():
        # Locked, so that rows that another worker sums meanwhile are not counted twice.
        rows = FleetCount.objects.filter(domain=domain).select_for_update().order_by("id")
        taken = list(rows.values_list("id", "kind", "delta")[:FOLDED])
        FleetCount.objects.filter(id__in=[key for key, _, _ in taken]).delete()
        note_counts(_sums((domain.pk, kind, delta) for _, kind, delta in taken))
    return len(taken)


def recount_fleet(*, domain: TrustDomain) -> dict[str, int]:
    """Count a domain's devices and incidents, and correct the counts that differ; return by how much.

    One statement counts and sums, so both are of one moment. A transaction changes them together: the difference stays
    the same even if other transactions commit meanwhile, and a correction that is added later is still right.
    """
    if not _differences(domain):
        return {}
    with transaction.atomic():
        # One worker corrects at a time: the second one compares after the first one's correction.
        TrustDomain.objects.select_for_update(no_key=True).get(pk=domain.pk)
        differences = _differences(domain)
        note_counts({(domain.pk, kind): many for kind, many in differences.items()})
    if differences:
        _logger.warning(
            "the fleet counts were wrong and have been corrected",
            extra={"trust_domain": domain.slug, "by": differences},
        )
    return differences


def _differences(domain: TrustDomain) -> dict[str, int]:
    """Return the correction of each count that differs from its table."""
    kept = FleetCount.objects.filter(domain=domain).order_by().values("kind").annotate(many=-Sum("delta"))
    words = Device.objects.filter(domain=domain).exclude(presence=OUT_OF_SERVICE)
    held = Device.objects.filter(domain=domain, quarantined_at__isnull=False)
    opened = Incident.objects.filter(domain=domain, state=Incident.State.OPEN)
    parts = [_counted(words, F("presence")), _counted(held, Value(_KINDS.QUARANTINED.value))]
    parts.append(_counted(opened, Value(_KINDS.OPEN_INCIDENTS.value)))
    rows = kept.values_list("kind", "many").union(*parts, all=True)
    counts = _sums((domain.pk, kind, many or 0) for kind, many in rows)
    return {kind: many for (_, kind), many in counts.items() if many}


def _counted(rows: QuerySet[Device] | QuerySet[Incident], kind: F | Value) -> QuerySet[Device] | QuerySet[Incident]:
    grouped = rows.order_by().annotate(counted=kind).values("counted").annotate(many=Count("id"))
    return grouped.values_list("counted", "many")  # type: ignore[return-value]  # rows of values, for a union only


def _sums(rows: Iterable[tuple[int, str, int]]) -> Counter[tuple[int, str]]:
    counts: Counter[tuple[int, str]] = Counter()
    for domain, kind, many in rows:
        counts[domain, kind] += many
    return counts
