"""Delete telemetry after its class's retention time: personal data first, fine steps before coarse ones (a leased job).

Each question is asked of an index by age first, so that a run that finds nothing due reads next to nothing and writes
nothing. What is personal is no column: rows are compared with the schemas of the hardware models when they have reached
a certain age. That is looked at once a day, and when a schema has changed.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Model, QuerySet

from devices import metrics, series
from devices.models import (
    BatchSeen,
    Device,
    DeviceLog,
    HardwareModel,
    Observation,
    ObservationDay,
    Presence,
    Sample,
    SampleDay,
    Series,
    SourceNetwork,
)
from devices.models.telemetry import FINE_MS
from pki.kernel import clock
from pki.kernel.recent import Recent
from pki.models import TrustDomain

#: series are thinned to this step when they are old
COARSE_MS = 2 * FINE_MS
AT_ONCE = 2000
_Row = TypeVar("_Row", bound=Model)
#: hardware model (internal id) -> metrics with the longest retention time
Schemas = Mapping[int, frozenset[str]]


#: domain (internal id), day and schemas with which this process has compared all rows that are older
_compared: Recent[tuple[int, int, frozenset[tuple[int, frozenset[str]]]], None] = Recent(86_400)


def apply_retention(*, domain: TrustDomain) -> int:
    """Delete expired telemetry and thin out old telemetry; return how many rows changed."""
    today = clock.unix() // 86400
    touched = _drop_personal(domain, today - settings.FLEET_KEEP_PERSONAL_DAYS)
    touched += _drop(today - settings.FLEET_KEEP_TELEMETRY_DAYS)
    touched += _thin(today - settings.FLEET_KEEP_FINE_DAYS)
    erased = Device.objects.filter(domain=domain, state=Device.State.RETIRED, salt=b"")
    return touched + _forget(erased.order_by("id").values_list("id", flat=True))


def forget_telemetry(keys: list[int]) -> int:
    """Delete everything in the telemetry database about these devices (internal ids); return how many rows."""
    samples, shown = (Sample, SampleDay), (Observation, ObservationDay)
    tables = (*samples, *shown, Series, BatchSeen, Presence, SourceNetwork, DeviceLog)
    querysets = [table.objects.filter(device_id__in=keys) for table in tables]
    # Looked for first: a statement that deletes takes the write lock, also when it finds nothing.
    return sum(rows.delete()[0] for rows in querysets if rows.exists())


def _forget(erased: QuerySet[Device, int]) -> int:
    """Delete what listeners wrote of erased devices (internal ids) after their erasure: they write once a second."""
    touched, last_pk = 0, 0
    while some := list(erased.filter(id__gt=last_pk)[:AT_ONCE]):
        touched, last_pk = touched + forget_telemetry(some), some[-1]
    return touched


def _drop(before: int) -> int:
    """Delete everything that was recorded before a day, for all devices."""
    tick = _tick(before)
    return (
        _deleted(Series.objects.filter(day__lt=before))
        + _deleted(Sample.objects.filter(tick__lt=tick))
        + _deleted(SampleDay.objects.filter(day__lt=before))
        + _deleted(Observation.objects.filter(tick__lt=tick))
        + _deleted(ObservationDay.objects.filter(day__lt=before))
        + _deleted(DeviceLog.objects.filter(at__lt=datetime.fromtimestamp(before * 86400, UTC)))
        + _deleted(SourceNetwork.objects.filter(last_tick__lt=tick))
    )


def _drop_personal(domain: TrustDomain, before: int) -> int:
    """Delete personal data, and data that no schema names any more, because it may be personal."""
    schemas, touched = _schemas(domain), list[int]()
    if schemas:
        known = domain.pk, before, frozenset(schemas.items())
        _compared.get(known, lambda: touched.append(_compare(domain, before, schemas)))
    return sum(touched)


def _compare(domain: TrustDomain, before: int, schemas: Schemas) -> int:
    touched = _drop_strangers(domain, Series.objects.all(), "day", before, schemas)
    # Rows before days: what is packed between the two looks is seen by the second.
    touched += _drop_strangers(domain, Sample.objects.all(), "tick", _tick(before), schemas)
    return touched + _drop_strangers(domain, SampleDay.objects.all(), "day", before, schemas)


def _schemas(domain: TrustDomain) -> Schemas:
    rows = HardwareModel.objects.filter(domain=domain).values_list("pk", "telemetry")
    return {key: _ordinary(given) for key, given in rows}


def _ordinary(given: Mapping[str, str]) -> frozenset[str]:
    kept = {name for name, kind in metrics.effective_schema(given).items() if kind == metrics.OPERATIONAL}
    return frozenset(kept | set(metrics.OBSERVED))


def _drop_strangers(domain: TrustDomain, every: QuerySet[_Row], age: str, before: int, schemas: Schemas) -> int:
    """Delete the rows whose metric the schema of their device's hardware model does not keep, one age after the other.

    Args:
        domain: whose devices.
        every: the rows.
        age: the column that says how old they are.
        before: the value of that column from which on rows are kept.
        schemas: of the domain's hardware models.
    """
    everywhere = frozenset.intersection(*schemas.values())
    touched, rows = 0, every.exclude(metric__in=everywhere).order_by()
    old = rows.filter(**{f"{age}__lt": before}).order_by(age).values_list(age, flat=True)
    present = old.first()
    while present is not None:
        gone = list(_strangers(domain, rows.filter(**{age: present}), schemas))
        for start in range(0, len(gone), AT_ONCE):
            touched += rows.filter(pk__in=gone[start : start + AT_ONCE]).delete()[0]
        present = old.filter(**{f"{age}__gt": present}).first()
    return touched


def _strangers(domain: TrustDomain, rows: QuerySet[_Row], schemas: Schemas) -> Iterator[int]:
    series = rows.values_list("pk", "device_id", "metric").iterator(chunk_size=AT_ONCE)
    while some := list(islice(series, AT_ONCE)):
        owned = Device.objects.filter(domain=domain, pk__in={device for _, device, _ in some})
        models = dict(owned.values_list("pk", "hardware_model_id"))
        for key, device, metric in some:
            if device in models and metric not in schemas[models[device]]:
                yield key


def _deleted(rows: QuerySet[_Row]) -> int:
    """Delete rows, a bounded number in each transaction; look for them first."""
    touched = 0
    while keys := list(rows.values_list("pk", flat=True)[:AT_ONCE]):
        touched += rows.filter(pk__in=keys).delete()[0]
    return touched


def _thin(before: int) -> int:
    rows = Series.objects.filter(day__lt=before, step_ms__lte=FINE_MS).order_by("day", "id")
    touched = 0
    while batch := list(rows[:AT_ONCE]):
        with transaction.atomic(using="telemetry"):
            for row in batch:
                thinned = series.thin_series(row.start, row.step_ms, bytes(row.values), COARSE_MS)
                row.step_ms, row.values = thinned.step, thinned.packed
            Series.objects.bulk_update(batch, ["step_ms", "values"])
        touched += len(batch)
    return touched


def _tick(day: int) -> int:
    """Return the first tick of a day since 1970."""
    return day * 86400 // settings.FLEET_DRIFT_TICK_S
