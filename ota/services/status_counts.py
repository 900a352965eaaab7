"""Keep the counts of assignments short and true (decision 0019): add up their parts, and count anew now and then."""

import logging
from collections import Counter
from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import Count, F

from ota.models import Rollout, StatusCount, Wave
from ota.selectors.status_counts import count_by_wave
from pki.models import TrustDomain

#: parts that one transaction adds up, and transactions of one run
PARTS, RUNS = 1000, 20
#: the wave that this process has counted last, by domain (internal ids)
_recounted: dict[int, int] = {}
_logger = logging.getLogger(__name__)
#: Adds to the counts of one wave what they lack. One statement, so that rows and counts are those of one moment.
_CORRECT = """
    INSERT INTO ota_statuscount (rollout_id, wave_id, status, reason, part, devices)
    SELECT %s, %s, status, reason, {part}, SUM(devices) FROM (
        SELECT status, '' AS reason, COUNT(*) AS devices FROM ota_assignment
        WHERE wave_id = %s AND status <> 'error' GROUP BY status
        UNION ALL
        SELECT status, reason, COUNT(*) AS devices FROM ota_assignment
        WHERE wave_id = %s AND status = 'error' GROUP BY status, reason
        UNION ALL
        SELECT status, reason, -devices FROM ota_statuscount WHERE rollout_id = %s AND wave_id = %s
    ) AS found GROUP BY status, reason HAVING SUM(devices) <> 0
    ON CONFLICT (rollout_id, wave_id, status, reason, part)
    DO UPDATE SET devices = ota_statuscount.devices + excluded.devices
"""


def add_up(*, domain: TrustDomain) -> int:
    """Put the parts of each count together (a leased job); return how many parts there were.

    The sums stay the same at every moment; two workers at once do no harm.
    """
    added = 0
    for _ in range(RUNS):
        waiting = StatusCount.objects.filter(part__gt=0, rollout__domain=domain)
        if not waiting.exists():
            break
        with transaction.atomic():
            added += _add_up(waiting.values_list("pk", flat=True).order_by("pk")[:PARTS])
    return added


def _add_up(keys: Iterable[int]) -> int:
    """Add some parts to the first parts of their counts, and remove them."""
    # Rows that another worker adds up at this moment are passed over.
    rows = StatusCount.objects.select_for_update(skip_locked=True).filter(pk__in=list(keys))
    parts = list(rows.values_list("pk", "rollout_id", "wave_id", "status", "reason", "devices"))
    sums: Counter[tuple[int, int, str, str]] = Counter()
    for _, rollout, wave, status, reason, devices in parts:
        sums[rollout, wave, status, reason] += devices
    # Always in one order: two workers that wait for each other would both fail.
    for rollout, wave, status, reason in sorted(sums):
        named = {"rollout_id": rollout, "wave_id": wave, "status": status, "reason": reason, "part": 0}
        first, _ = StatusCount.objects.get_or_create(**named, defaults={"devices": 0})
        many = sums[rollout, wave, status, reason]
        StatusCount.objects.filter(pk=first.pk).update(devices=F("devices") + many)
    StatusCount.objects.filter(pk__in=[pk for pk, *_ in parts]).delete()
    return len(parts)


def recount_next(*, domain: TrustDomain) -> None:
    """Count the assignments of the next wave of a domain anew (a job): in time of all waves, then from the first on."""
    last = _recounted.get(domain.pk, 0)
    wave = Wave.objects.filter(rollout__domain=domain, pk__gt=last).select_related("rollout").order_by("pk").first()
    _recounted[domain.pk] = wave.pk if wave else 0
    if wave:
        recount(wave=wave)


def recount(*, wave: Wave) -> bool:
    """Count the assignments of a wave anew; return whether the counts were wrong, and have been corrected.

    Triggers keep them; they can be wrong only after somebody has changed tables past them.
    """
    rows = wave.assignments.order_by().values_list("status").annotate(there=Count("pk"))
    if dict(rows) == count_by_wave([wave.rollout])[wave.pk]:
        return False
    with transaction.atomic():
        # What has changed between the two looks above is no error: looked at again in one statement, by one at a time.
        Rollout.objects.select_for_update(no_key=True).get(pk=wave.rollout_id)
        return _correct(wave)


def _correct(wave: Wave) -> bool:
    part = "nextval('ota_statuscount_parts')" if connection.vendor == "postgresql" else "0"
    key = wave.pk
    with connection.cursor() as cursor:
        cursor.execute(_CORRECT.format(part=part), [wave.rollout_id, key, key, key, wave.rollout_id, key])
        corrected = int(cursor.rowcount) > 0
    if corrected:
        _logger.warning("the counts of a wave were wrong and have been corrected", extra={"wave": str(wave)})
    return corrected
