"""Keep the counts of assignments correct (decision 0019): recount those of a wave regularly."""

import logging

from django.db import connection, transaction
from django.db.models import Count, Sum

from ota.models import Assignment, Rollout, StatusCount, Wave
from ota.selectors.status_counts import count_by_wave
from ota.services import patch_counts
from pki.models import TrustDomain

#: the wave that this process has counted last, by domain (internal ids)
_recounted: dict[int, int] = {}
_logger = logging.getLogger(__name__)
#: different causes of failures that are counted for one wave; devices choose the texts, and each has a row
MOST_COUNTED = 200
#: cause of the failures beyond them
OTHER_CAUSES = "other causes"
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


def counted_cause(*, assignment: Assignment, cause: str) -> str:
    """Return the cause under which a failure is counted: its own, or ``OTHER_CAUSES`` if its wave has too many.

    The full text is in the events of the assignment. Reports at once may exceed the limit by their number.

    Args:
        assignment: that fails.
        cause: as the device gave it.
    """
    rows = StatusCount.objects.filter(rollout=assignment.rollout_id, wave=assignment.wave_id, status="error")
    if assignment.wave_id is None or rows.filter(reason=cause).exists():
        return cause
    known = rows.order_by().values("reason").distinct()[:MOST_COUNTED].count()
    return cause if known < MOST_COUNTED else OTHER_CAUSES


def recount_next(*, domain: TrustDomain) -> None:
    """Recount the assignments of the next wave of a domain (a job): one wave after the other, then from the first.

    With the first wave of a rollout, recount the rollout's patches too.
    """
    last = _recounted.get(domain.pk, 0)
    wave = Wave.objects.filter(rollout__domain=domain, pk__gt=last).select_related("rollout").order_by("pk").first()
    _recounted[domain.pk] = wave.pk if wave else 0
    if wave:
        recount_wave(wave=wave)
    if wave and wave.index == 0:
        patch_counts.recount_patches(rollout=wave.rollout)


def recount_wave(*, wave: Wave) -> bool:
    """Recount the assignments of a wave; return whether the counts were wrong and have been corrected.

    Triggers keep them; they can be wrong only after tables were changed without the triggers.
    """
    rows = wave.assignments.order_by().values_list("status").annotate(there=Count("pk"))
    failed = wave.assignments.order_by().filter(status="error").values_list("reason").annotate(there=Count("pk"))
    causes = StatusCount.objects.filter(wave=wave, status="error").order_by().values_list("reason")
    told = {reason: devices for reason, devices in causes.annotate(there=Sum("devices")) if devices}
    if dict(rows) == count_by_wave([wave.rollout])[wave.pk] and dict(failed) == told:
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
