"""Numbers of devices by status in rollouts, from stored counts, for rollouts of any size."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from django.db.models import Sum

from ota.models import Assignment, Rollout, StatusCount


def count_by_wave(rollouts: Iterable[Rollout]) -> dict[int, Counter[str]]:
    """Return the numbers of devices by status of each wave (internal id) of some rollouts."""
    rows = StatusCount.objects.filter(rollout__in=[rollout.pk for rollout in rollouts]).values_list("wave_id", "status")
    counted: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for wave, status, devices in rows.annotate(there=Sum("devices")).order_by():
        if devices:
            counted[wave][status] = devices
    return counted


def count_by_rollout(rollouts: Iterable[Rollout]) -> dict[int, Counter[str]]:
    """Return the numbers of devices by status of each rollout (internal id)."""
    counted: dict[int, Counter[str]] = {rollout.pk: Counter() for rollout in rollouts}
    rows = StatusCount.objects.filter(rollout__in=list(counted)).values_list("rollout_id", "status")
    for key, status, devices in rows.annotate(there=Sum("devices")).order_by():
        if devices:
            counted[key][status] = devices
    return counted


def count_causes(rollouts: Collection[Rollout], most: int) -> dict[int, list[tuple[str, int]]]:
    """Return the failure causes in each rollout (internal id) with their numbers of devices, most frequent first.

    Args:
        rollouts: the rollouts.
        most: causes of one rollout.
    """
    rows = StatusCount.objects.filter(rollout__in=[rollout.pk for rollout in rollouts], status=Assignment.Status.ERROR)
    told = rows.values("rollout_id", "reason").annotate(there=Sum("devices")).filter(there__gt=0)
    # The database cuts the list of one rollout: devices choose the texts, so there may be many.
    one_only = len({rollout.pk for rollout in rollouts}) == 1
    causes: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    ordered = told.order_by("-there", "reason").values_list("rollout_id", "reason", "there")
    for key, reason, devices in ordered[:most] if one_only else ordered.iterator():
        if len(causes[key]) < most:
            causes[key].append((reason, devices))
    return causes
