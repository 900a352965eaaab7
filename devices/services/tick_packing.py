"""Pack rows of single ticks after their day has passed and drift detection has read them (a leased job).

Rows of the last days stay as they are: several workers add to them, and drift detection reads them tick by tick. Each
commit moves a bounded number of rows, and readers take both places, so that a run may end anywhere. Rows that an
earlier version left are moved in the same way.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.conf import settings
from django.db import transaction

from devices import metrics
from devices.models import Device, Observation, ObservationDay, Sample, SampleDay
from devices.services import drift
from devices.tick_values import pack_ticks, unpack_ticks
from pki.models import TrustDomain

#: rows that one commit moves; devices that one statement names
AT_ONCE, DEVICES_AT_ONCE = 2000, 200
DAY_S = 86_400
#: device (internal id), day since 1970, metric or key
Place = tuple[int, int, str]


_Day = TypeVar("_Day", SampleDay, ObservationDay)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Day]):
    """What is packed: the table of rows, the table of days, and the column that both have for its name."""

    rows: type[Sample | Observation]
    days: type[_Day]
    name: str


_SAMPLES, _SHOWN = _Kind(Sample, SampleDay, "metric"), _Kind(Observation, ObservationDay, "key")


def pack_past_days(*, domain: TrustDomain) -> int:
    """Pack the past, scored days of a domain's devices; return how many rows were moved."""
    tick_s = settings.FLEET_DRIFT_TICK_S
    day = drift.unscored_ticks(domain=domain)[0] * tick_s // DAY_S
    before = -(-day * DAY_S // tick_s)  # the first tick that begins on that day
    return _pack_kind(_SAMPLES, domain, before) + _pack_kind(_SHOWN, domain, before)


def _pack_kind(kind: _Kind[_Day], domain: TrustDomain, before: int) -> int:
    """Pack all rows before a tick; without rows, read no devices."""
    if not kind.rows.objects.filter(tick__lt=before).exists():
        return 0
    return sum(_pack_devices(kind, keys, before) for keys in _devices(domain))


def _devices(domain: TrustDomain) -> Iterator[list[int]]:
    last_pk, keys = 0, Device.objects.filter(domain=domain).order_by("pk").values_list("pk", flat=True)
    while some := list(keys.filter(pk__gt=last_pk)[:DEVICES_AT_ONCE]):
        yield some
        last_pk = some[-1]


def _pack_devices(kind: _Kind[_Day], keys: list[int], before: int) -> int:
    touched = 0
    while moved := _pack_some(kind, keys, before):
        touched += moved
    return touched


def _pack_some(kind: _Kind[_Day], keys: list[int], before: int) -> int:
    """Move the oldest rows of these devices in one commit; return their number.

    The rows are locked: what a worker that was stopped for long adds to one of them is added before, or to a new row,
    which the next run packs with the others.
    """
    rows = kind.rows.objects.filter(device_id__in=keys, tick__lt=before).order_by("device_id", "tick")
    columns = ("pk", "device_id", "tick", kind.name, *(["value"] if kind.rows is Sample else []))
    if not rows.exists():  # looked for first: a transaction would take SQLite's write lock
        return 0
    with transaction.atomic(using="telemetry"):
        locked = list(rows.select_for_update().values_list(*columns)[:AT_ONCE])
        if not locked:
            return 0
        days: dict[Place, dict[int, float]] = defaultdict(dict)
        for _, device, tick, name, *value in locked:
            day = tick * settings.FLEET_DRIFT_TICK_S // DAY_S
            days[device, day, name][tick] = value[0] if value else 1.0
        _write(kind, days)
        kind.rows.objects.filter(pk__in=[row[0] for row in locked]).delete()
    return len(locked)


def _write(kind: _Kind[_Day], days: dict[Place, dict[int, float]]) -> None:
    numbers = [day for _, day, _ in days]
    packed = kind.days.objects.filter(
        device_id__in={device for device, _, _ in days}, day__gte=min(numbers), day__lte=max(numbers)
    )
    for device, day, name, start, values in packed.values_list("device_id", "day", kind.name, "start", "values"):
        if (added := days.get((device, day, name))) is not None:
            days[device, day, name] = _joined(name, unpack_ticks(start, bytes(values)), added)
    made: list[_Day] = []
    for (device, day, name), ticks in days.items():
        start, values = pack_ticks(ticks)
        made.append(kind.days(device_id=device, day=day, start=start, values=values, **{kind.name: name}))
    kind.days.objects.bulk_create(
        made,
        update_conflicts=True,
        unique_fields=["device_id", "day", kind.name],
        update_fields=["start", "values"],
    )


def _joined(name: str, packed: dict[int, float], added: dict[int, float]) -> dict[int, float]:
    """Combine late values with a packed day, by the rule of each metric."""
    way = metrics.combining_rule(name) if name in metrics.OBSERVED else "newest"
    for tick, value in added.items():
        before = packed.get(tick)
        if before is None or way == "newest":
            packed[tick] = value
        else:
            packed[tick] = before + value if way == "sum" else max(before, value)
    return packed
