"""Sum the partial counts that triggers write (decision 0019)."""

from collections import Counter
from collections.abc import Iterable

from django.db import transaction
from django.db.models import F

from ota.models import PatchCount, StatusCount
from pki.models import TrustDomain

#: parts that one transaction adds up, and transactions of one run
PARTS, RUNS = 1000, 20
#: what a number is counted by, in each of the tables
COUNTED_BY: dict[type[PatchCount | StatusCount], tuple[str, ...]] = {
    StatusCount: ("rollout_id", "wave_id", "status", "reason"),
    PatchCount: ("rollout_id", "format", "failed"),
}


def add_up(*, domain: TrustDomain) -> int:
    """Sum the parts of each count (a leased job); return the number of parts.

    The sums stay the same at every moment; two workers at once do no harm.
    """
    return sum(_add_up_table(model, domain) for model in COUNTED_BY)


def _add_up_table(model: type[PatchCount | StatusCount], domain: TrustDomain) -> int:
    added = 0
    for _ in range(RUNS):
        waiting = model.objects.filter(part__gt=0, rollout__domain=domain)
        if not waiting.exists():
            break
        with transaction.atomic():
            added += _add_up_parts(model, waiting.values_list("pk", flat=True).order_by("pk")[:PARTS])
    return added


def _add_up_parts(model: type[PatchCount | StatusCount], keys: Iterable[int]) -> int:
    """Add some parts to the first parts of their counts, and remove them."""
    names, every = COUNTED_BY[model], model.objects
    # Skip rows that another worker sums at this moment.
    parts = list(every.select_for_update(skip_locked=True).filter(pk__in=list(keys)).values("pk", "devices", *names))
    sums: Counter[tuple[int | str, ...]] = Counter()
    for part in parts:
        sums[tuple(part[name] for name in names)] += part["devices"]
    # Always in one order: two workers that wait for each other would both fail.
    for values in sorted(sums):
        named = dict(zip(names, values, strict=True))
        first, _ = every.get_or_create(**named, part=0, defaults={"devices": 0})
        every.filter(pk=first.pk).update(devices=F("devices") + sums[values])
    every.filter(pk__in=[part["pk"] for part in parts]).delete()
    return len(parts)
