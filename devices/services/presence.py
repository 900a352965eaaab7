"""What a door sees of devices, gathered in memory and written in batches: last contact and traffic."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import connections, transaction

from devices.models import Presence, Sample
from pki.kernel import clock

#: metrics that the door itself counts; no device can forge them
OBSERVED = ("requests", "srv_bytes_in", "srv_bytes_out")


@dataclass(slots=True)
class _Gathered:
    seen: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    counts: dict[tuple[int, int], list[int]] = field(default_factory=dict)


_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_gathered = _Gathered()


def seen(device_id: int, address: str, bytes_in: int, bytes_out: int, *, routine: bool = True) -> None:
    """Note one request of a device; nothing is written yet.

    Args:
        device_id: internal id.
        address: where it came from.
        bytes_in: size of the request's body.
        bytes_out: size of the answer's body.
        routine: ordinary chatter; only that is counted as behaviour, since the server itself causes downloads.
    """
    now = clock.now()
    tick = int(now.timestamp()) // settings.FLEET_DRIFT_TICK_S
    with _lock:
        _gathered.seen[device_id] = (now, address)
        if not routine:
            return
        counts = _gathered.counts.setdefault((device_id, tick), [0, 0, 0])
        counts[0] += 1
        counts[1] += bytes_in
        counts[2] += bytes_out


def seen_often(counted: dict[int, tuple[int, str]], bytes_out: int) -> None:
    """Note many requests at once, as a door's fast path counts them.

    Args:
        counted: internal id of a device -> requests without a body since the last call, and the last address.
        bytes_out: size of each answer's body.
    """
    now = clock.now()
    tick = int(now.timestamp()) // settings.FLEET_DRIFT_TICK_S
    with _lock:
        for device_id, (requests, address) in counted.items():
            _gathered.seen[device_id] = (now, address)
            counts = _gathered.counts.setdefault((device_id, tick), [0, 0, 0])
            counts[0] += requests
            counts[2] += requests * bytes_out


def flush() -> int:
    """Write what was gathered in one transaction; return how many devices were seen."""
    global _gathered
    with _lock:
        batch, _gathered = _gathered, _Gathered()
    if not batch.seen:
        return 0
    with transaction.atomic(using="telemetry"):
        Presence.objects.bulk_create(
            [Presence(device_id=key, last_seen=at, address=address) for key, (at, address) in batch.seen.items()],
            update_conflicts=True,
            unique_fields=["device_id"],
            update_fields=["last_seen", "address"],
        )
        _add_samples(batch.counts)
    return len(batch.seen)


def write() -> None:
    """Write what was gathered; trouble with the database ends no door."""
    try:
        flush()
    except Exception:
        _logger.exception("presence could not be written")


def _add_samples(counts: dict[tuple[int, int], list[int]]) -> None:
    """Add to the tick's samples: a tick may be flushed in parts, and by several workers."""
    rows = [
        (device, tick, metric, float(value))
        for (device, tick), values in counts.items()
        for metric, value in zip(OBSERVED, values, strict=True)
    ]
    table = Sample._meta.db_table
    statement = (
        f"INSERT INTO {table} (device_id, tick, metric, value) VALUES (%s, %s, %s, %s) "  # noqa: S608  because the name is Django's own
        f"ON CONFLICT (tick, device_id, metric) DO UPDATE SET value = {table}.value + excluded.value"
    )
    with connections["telemetry"].cursor() as cursor:
        cursor.executemany(statement, rows)
