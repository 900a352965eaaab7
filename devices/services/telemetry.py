"""Accept telemetry batches: an allow-list of metrics, each batch once, stored compactly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from devices import defender, series
from devices import metrics as allowed
from devices.errors import ReplayError
from devices.models import BatchSeen, Device, Observation, Sample, Series
from devices.series import Values
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import DeniedError, InvalidError

CLASSES = frozenset({"lan", "wan", "multicast"})
PROTOCOLS = frozenset({"tcp", "udp"})
MAX_PEERS = 64
EPHEMERAL = 32768
FIELDS = frozenset({"seq", "metrics", "peers", "series"})
#: quoted: it is a word of SQL
_VALUES = '"values"'


@dataclass(frozen=True, slots=True)
class Batch:
    """One checked telemetry batch: its number, values by metric, novelty keys, and series by metric."""

    sequence: int
    metrics: dict[str, float]
    keys: frozenset[str]
    series: dict[str, Values] = field(default_factory=dict)


def parse_batch(body: Mapping[str, object]) -> Batch:
    """Check a batch as it came over the wire.

    A report in the shape of AWS Device Defender counts as one. Which metrics a device may report is asked later.

    Raises:
        InvalidError: an unknown field, a value that is no finite number, a malformed name or peer.
    """
    if defender.is_report(body):
        body = defender.convert_batch(body)
    if unknown := set(body) - FIELDS:
        msg = f"Unknown fields: {', '.join(sorted(unknown))[:200]}."
        raise InvalidError(msg)
    sequence = body.get("seq")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 < sequence < 1 << 62:
        msg = "`seq` must be a positive integer that increases with each batch."
        raise InvalidError(msg)
    metrics = body.get("metrics", {})
    if not isinstance(metrics, dict) or len(metrics) > allowed.MOST or not all(map(allowed.is_name, metrics)):
        msg = f"`metrics` must map at most {allowed.MOST} names (lower-case letters, digits, _) to numbers."
        raise InvalidError(msg)
    sent = series.parse_series(body.get("series", {}), int(clock.now().timestamp() * 1000))
    if len(sent) > allowed.MOST or not all(map(allowed.is_name, sent)):
        msg = f"`series` may have at most {allowed.MOST} names (lower-case letters, digits, _)."
        raise InvalidError(msg)
    return Batch(sequence, {name: _number(name, value) for name, value in metrics.items()}, _keys(body), sent)


def ingest_batch(*, actor: Actor, device: Device, batch: Batch) -> None:
    """Store a batch; refuse a repeated number.

    Raises:
        ReplayError: this batch, or a later one, was stored before.
        DeniedError: a metric must not leave the device; the refusal is counted, the value is dropped.
        InvalidError: a metric is not on the list of the device's hardware model; counted as well.
    """
    actor.require_device(device.key)
    tick = clock.unix() // settings.FLEET_DRIFT_TICK_S
    try:
        allowed.check_metrics(device.hardware_model.telemetry, [*batch.metrics, *batch.series])
    except (DeniedError, InvalidError):
        _count_refusal(device.pk, tick)
        raise
    with transaction.atomic(using="telemetry"):
        if not _first_time(device.pk, batch.sequence):
            last = BatchSeen.objects.get(device_id=device.pk).sequence
            msg = f"Batch {batch.sequence} is already stored. Continue from {last + 1}."
            raise ReplayError(msg, sequence=last)
        _store(device.pk, tick, batch)


def _first_time(device_id: int, sequence: int) -> bool:
    """Store a batch's number in one statement; return whether it is above all earlier ones."""
    table = BatchSeen._meta.db_table
    statement = (
        f"INSERT INTO {table} (device_id, sequence) VALUES (%s, %s) "  # noqa: S608  because the name is Django's own
        f"ON CONFLICT (device_id) DO UPDATE SET sequence = excluded.sequence WHERE {table}.sequence < excluded.sequence"
    )
    with connections["telemetry"].cursor() as cursor:
        cursor.execute(statement, [device_id, sequence])
        return bool(cursor.rowcount == 1)


def _count_refusal(device_id: int, tick: int) -> None:
    """Count a refused batch as behaviour: a device that suddenly sends forbidden metrics has changed."""
    with transaction.atomic(using="telemetry"):
        row, _ = Sample.objects.get_or_create(
            device_id=device_id, tick=tick, metric=allowed.REFUSED, defaults={"value": 0.0}
        )
        Sample.objects.filter(pk=row.pk).update(value=F("value") + 1)


def _store(device_id: int, tick: int, batch: Batch) -> None:
    """Store a batch in few statements; the drift engine uses the mean of a series in this tick."""
    values = batch.metrics | {name: sent.mean for name, sent in batch.series.items()}
    samples, kept = Sample._meta.db_table, Series._meta.db_table
    with connections["telemetry"].cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {samples} (device_id, tick, metric, value) VALUES (%s, %s, %s, %s) "  # noqa: S608  because the name is Django's own
            "ON CONFLICT (tick, device_id, metric) DO UPDATE SET value = excluded.value",
            [(device_id, tick, name, value) for name, value in values.items()],
        )
        cursor.executemany(
            f"INSERT INTO {kept} (device_id, metric, day, start, step_ms, {_VALUES}) VALUES (%s, %s, %s, %s, %s, %s)",  # noqa: S608  because the names are Django's own
            [
                (device_id, name, sent.start // series.DAY_MS, sent.start, sent.step, sent.packed)
                for name, sent in batch.series.items()
            ],
        )
    if batch.keys:
        Observation.objects.bulk_create(
            [Observation(device_id=device_id, tick=tick, key=key) for key in batch.keys], ignore_conflicts=True
        )


def _number(name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        msg = f"`{name}` must be a finite number."
        raise InvalidError(msg)
    return number


def _keys(body: Mapping[str, object]) -> frozenset[str]:
    peers = body.get("peers", [])
    if not isinstance(peers, list) or len(peers) > MAX_PEERS:
        msg = f"`peers` must be a list of at most {MAX_PEERS} entries [protocol, port, class]."
        raise InvalidError(msg)
    return frozenset(_key(peer) for peer in peers)


def _key(peer: object) -> str:
    match peer:
        case [str(protocol), int(port), str(place)] if (
            protocol in PROTOCOLS and 0 <= port < 65536 and place in CLASSES  # noqa: PLR2004  because ports have 16 bits
        ):
            return f"{protocol}:{'eph' if port >= EPHEMERAL else port}:{place}"
        case _:
            msg = "A peer must be [tcp or udp, port, lan or wan or multicast]."
            raise InvalidError(msg)
