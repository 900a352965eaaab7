"""Let telemetry go when its class says so: personal data first, fine steps before coarse ones (a leased job)."""

from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from devices import metrics, series
from devices.models import (
    BatchSeen,
    Device,
    DeviceLog,
    HardwareModel,
    Observation,
    Presence,
    Sample,
    Series,
    SourceNetwork,
)
from pki.kernel import clock
from pki.models import TrustDomain

#: series are thinned to this step when they are old
COARSE_MS = 60_000
AT_ONCE = 2000


def retain(*, domain: TrustDomain) -> int:
    """Delete what has outlived its class and thin what is old; return how many rows that concerned."""
    today, devices = clock.unix() // 86400, Device.objects.filter(domain=domain)
    touched = 0
    for model in HardwareModel.objects.filter(domain=domain):
        keys = list(devices.filter(hardware_model=model).values_list("id", flat=True))
        schema = metrics.effective(model.telemetry)
        ordinary = [*metrics.OBSERVED, *(name for name, kind in schema.items() if kind == metrics.OPERATIONAL)]
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            touched += _drop_personal(some, ordinary, today - settings.FLEET_KEEP_PERSONAL_DAYS)
            touched += _drop(some, today - settings.FLEET_KEEP_TELEMETRY_DAYS)
            touched += _thin(some, today - settings.FLEET_KEEP_FINE_DAYS)
    return touched + _forget(list(devices.filter(state=Device.State.RETIRED, salt=b"").values_list("id", flat=True)))


def _drop_personal(keys: list[int], ordinary: list[str], before: int) -> int:
    """Delete what is personal, and what no schema names any more: it may have been."""
    rows, ticks = _before(keys, before)
    return rows.exclude(metric__in=ordinary).delete()[0] + ticks.exclude(metric__in=ordinary).delete()[0]


def _before(keys: list[int], day: int) -> tuple[QuerySet[Series], QuerySet[Sample]]:
    tick = day * 86400 // settings.FLEET_DRIFT_TICK_S
    rows = Series.objects.filter(device_id__in=keys, day__lt=day)
    return rows, Sample.objects.filter(device_id__in=keys, tick__lt=tick)


def _forget(keys: list[int]) -> int:
    """Delete what doors wrote of erased devices after their erasure: they gather for a second."""
    return sum(forget(keys[start : start + AT_ONCE]) for start in range(0, len(keys), AT_ONCE))


def forget(keys: list[int]) -> int:
    """Delete everything in the telemetry database about these devices (internal ids); return how many rows."""
    tables = (Sample, Series, BatchSeen, Observation, Presence, SourceNetwork, DeviceLog)
    return sum(table.objects.filter(device_id__in=keys).delete()[0] for table in tables)


def _drop(keys: list[int], before: int) -> int:
    rows, ticks = _before(keys, before)
    first = before * 86400
    seen = Observation.objects.filter(device_id__in=keys, tick__lt=first // settings.FLEET_DRIFT_TICK_S)
    logs = DeviceLog.objects.filter(device_id__in=keys, at__lt=datetime.fromtimestamp(first, UTC))
    places = SourceNetwork.objects.filter(device_id__in=keys, last_tick__lt=first // settings.FLEET_DRIFT_TICK_S)
    return sum(some.delete()[0] for some in (rows, ticks, seen, logs, places))


def _thin(keys: list[int], before: int) -> int:
    rows = Series.objects.filter(device_id__in=keys, day__lt=before, step_ms__lte=COARSE_MS // 2)
    touched = 0
    while found := list(rows[:AT_ONCE]):
        with transaction.atomic(using="telemetry"):
            for row in found:
                made = series.thinned(row.start, row.step_ms, bytes(row.values), COARSE_MS)
                row.step_ms, row.values = made.step, made.packed
            Series.objects.bulk_update(found, ["step_ms", "values"])
        touched += len(found)
    return touched
