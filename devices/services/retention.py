"""Let telemetry go when its class says so: personal data first, fine steps before coarse ones (a leased job)."""

from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction

from devices import metrics, series
from devices.models import Device, DeviceLog, HardwareModel, Observation, Sample, Series
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
        personal = [name for name, kind in schema.items() if kind == metrics.PERSONAL]
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            touched += _drop(some, personal, today - settings.FLEET_KEEP_PERSONAL_DAYS)
            touched += _drop(some, None, today - settings.FLEET_KEEP_TELEMETRY_DAYS)
            touched += _thin(some, today - settings.FLEET_KEEP_FINE_DAYS)
    return touched


def _drop(keys: list[int], names: list[str] | None, before: int) -> int:
    rows = Series.objects.filter(device_id__in=keys, day__lt=before)
    ticks = Sample.objects.filter(device_id__in=keys, tick__lt=before * 86400 // settings.FLEET_DRIFT_TICK_S)
    if names is not None:
        return rows.filter(metric__in=names).delete()[0] + ticks.filter(metric__in=names).delete()[0]
    first = before * 86400
    seen = Observation.objects.filter(device_id__in=keys, tick__lt=first // settings.FLEET_DRIFT_TICK_S)
    logs = DeviceLog.objects.filter(device_id__in=keys, at__lt=datetime.fromtimestamp(first, UTC))
    return sum(some.delete()[0] for some in (rows, ticks, seen, logs))


def _thin(keys: list[int], before: int) -> int:
    rows = Series.objects.filter(device_id__in=keys, day__lt=before, step_ms__lte=COARSE_MS // 2)
    found = list(rows[:AT_ONCE])
    with transaction.atomic(using="telemetry"):
        for row in found:
            made = series.thinned(row.start, row.step_ms, bytes(row.values), COARSE_MS)
            row.step_ms, row.values = made.step, made.packed
        Series.objects.bulk_update(found, ["step_ms", "values"])
    return len(found)
