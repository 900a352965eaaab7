"""How many devices of rollouts are in which status, from stored counts, for rollouts of any size."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db.models import Sum

from ota.models import Assignment, Rollout, StatusCount


def count_by_wave(found: Iterable[Rollout]) -> dict[int, Counter[str]]:
    """Return how many devices of each wave of some rollouts are in which status, by internal id."""
    rows = StatusCount.objects.filter(rollout__in=[rollout.pk for rollout in found]).values_list("wave_id", "status")
    counted: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for wave, status, devices in rows.annotate(there=Sum("devices")).order_by():
        if devices:
            counted[wave][status] = devices
    return counted


def count_by_rollout(found: Iterable[Rollout]) -> dict[int, Counter[str]]:
    """Return how many devices of each rollout are in which status, by internal id."""
    counted: dict[int, Counter[str]] = {rollout.pk: Counter() for rollout in found}
    rows = StatusCount.objects.filter(rollout__in=list(counted)).values_list("rollout_id", "status")
    for key, status, devices in rows.annotate(there=Sum("devices")).order_by():
        if devices:
            counted[key][status] = devices
    return counted


def count_causes(found: Iterable[Rollout], most: int) -> dict[int, list[tuple[str, int]]]:
    """Return the causes of failures in each rollout (internal id), and how many devices gave each; most first.

    Args:
        found: the rollouts.
        most: causes of one rollout.
    """
    rows = StatusCount.objects.filter(rollout__in=[rollout.pk for rollout in found], status=Assignment.Status.ERROR)
    told = rows.values_list("rollout_id", "reason").annotate(there=Sum("devices")).filter(there__gt=0)
    causes: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for key, reason, devices in told.order_by("-there", "reason").iterator():
        if len(causes[key]) < most:
            causes[key].append((reason, devices))
    return causes
