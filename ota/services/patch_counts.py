"""Keep the counts of patch results correct (decision 0019): recount those of a rollout."""

import logging
from collections import Counter

from django.db import connection, transaction
from django.db.models import Count, Q

from ota.models import PatchTry, Rollout
from ota.selectors.patches import count_outcomes

_logger = logging.getLogger(__name__)
#: Adds to the counts of one rollout what they lack. One statement, so that rows and counts are those of one moment.
_CORRECT = """
    INSERT INTO ota_patchcount (rollout_id, format, failed, part, devices)
    SELECT %s, format, failed, {part}, SUM(devices) FROM (
        SELECT t.format, t.trouble <> '' AS failed, COUNT(*) AS devices
        FROM ota_patchtry t JOIN ota_assignment a ON a.id = t.assignment_id
        WHERE a.rollout_id = %s GROUP BY t.format, t.trouble <> ''
        UNION ALL
        SELECT format, failed, -devices FROM ota_patchcount WHERE rollout_id = %s
    ) AS found GROUP BY format, failed HAVING SUM(devices) <> 0
    ON CONFLICT (rollout_id, format, failed, part)
    DO UPDATE SET devices = ota_patchcount.devices + excluded.devices
"""


def recount_patches(*, rollout: Rollout) -> bool:
    """Recount the patch reports of a rollout; return whether the counts were wrong and have been corrected.

    Triggers keep them; they can be wrong only after tables were changed without the triggers.
    """
    rows = PatchTry.objects.filter(assignment__rollout=rollout).order_by()
    there = Counter[tuple[str, bool]]()
    told = rows.values_list("format").annotate(tried=Count("id"), failed=Count("id", filter=~Q(trouble="")))
    for name, tried, failed in told:
        there[name, True], there[name, False] = failed, tried - failed
    if there == count_outcomes([rollout.pk])[rollout.pk]:
        return False
    with transaction.atomic():
        # What has changed between the two looks above is no error: looked at again in one statement, by one at a time.
        Rollout.objects.select_for_update(no_key=True).get(pk=rollout.pk)
        return _correct(rollout.pk)


def _correct(key: int) -> bool:
    part = "nextval('ota_patchcount_parts')" if connection.vendor == "postgresql" else "0"
    with connection.cursor() as cursor:
        cursor.execute(_CORRECT.format(part=part), [key, key, key])
        corrected = int(cursor.rowcount) > 0
    if corrected:
        _logger.warning("the counts of patches of a rollout were wrong and have been corrected", extra={"rollout": key})
    return corrected
