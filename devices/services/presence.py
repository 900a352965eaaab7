"""What a door sees of devices, gathered in memory and written in batches: last contact and traffic."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, connections, transaction

from devices import metrics
from devices.models import Device, Presence, Sample
from pki.kernel import clock
from pki.models import Certificate

#: what is noticed of certificates between two writes; more is let go
MOST_NOTICED = 50_000
CLIENT_ERROR, NOT_LET_IN, SERVER_ERROR = 400, {401, 403}, 500
AT_ONCE = 500


Row = tuple[int, int, str, float]


@dataclass(slots=True)
class _Gathered:
    seen: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    counts: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    noticed: dict[tuple[str, int, str], int] = field(default_factory=dict)


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


def notice(fingerprint: str, *names: str) -> None:
    """Note things about whoever shows a certificate, which need not be a device of ours; nothing is written yet.

    Args:
        fingerprint: hex SHA-256 of the certificate; empty for none.
        names: out of ``metrics.NOTICED``, each once more.
    """
    tick = int(clock.now().timestamp()) // settings.FLEET_DRIFT_TICK_S
    with _lock:
        if not fingerprint or len(_gathered.noticed) >= MOST_NOTICED:
            return
        for name in names:
            place = (fingerprint, tick, name)
            _gathered.noticed[place] = _gathered.noticed.get(place, 0) + 1


def answered(fingerprint: str, status: int) -> None:
    """Note how a request was answered, by its status in HTTP's numbers."""
    if status >= SERVER_ERROR:
        notice(fingerprint, "http_5xx")
    elif status in NOT_LET_IN:
        notice(fingerprint, "http_4xx", "auth_failures")
    elif status >= CLIENT_ERROR:
        notice(fingerprint, "http_4xx")


def flush() -> int:
    """Write what was gathered in one transaction; return how many devices were seen."""
    global _gathered
    with _lock:
        batch, _gathered = _gathered, _Gathered()
    if not batch.seen and not batch.noticed:
        return 0
    try:
        noticed = _of_devices(batch.noticed)
    except DatabaseError:  # of the other database: what this one takes is written all the same
        _logger.warning("what was noticed of certificates is lost", exc_info=True)
        noticed = []
    with transaction.atomic(using="telemetry"):
        Presence.objects.bulk_create(
            [Presence(device_id=key, last_seen=at, address=address) for key, (at, address) in batch.seen.items()],
            update_conflicts=True,
            unique_fields=["device_id"],
            update_fields=["last_seen", "address"],
        )
        _add_samples(_traffic(batch.counts) + noticed)
    return len(batch.seen)


def write() -> None:
    """Write what was gathered; trouble with the database ends no door."""
    try:
        flush()
    except Exception:
        _logger.exception("presence could not be written")


def _traffic(counts: dict[tuple[int, int], list[int]]) -> list[Row]:
    return [
        (device, tick, metric, float(value))
        for (device, tick), values in counts.items()
        for metric, value in zip(metrics.TRAFFIC, values, strict=True)
    ]


def _of_devices(noticed: dict[tuple[str, int, str], int]) -> list[Row]:
    """Return what was noticed of certificates as samples of their devices; of strangers nothing is kept."""
    prints = sorted({fingerprint for fingerprint, _, _ in noticed})
    device: dict[str, int] = {}
    for start in range(0, len(prints), AT_ONCE):
        some = Certificate.objects.filter(fingerprint__in=prints[start : start + AT_ONCE])
        owner = dict(some.filter(profile=Certificate.Profile.DEVICE).values_list("fingerprint", "subject_key"))
        rows = Device.objects.filter(public_id__in=set(owner.values())).values_list("public_id", "id")
        numbers = {str(key): number for key, number in rows}
        device |= {fingerprint: numbers[key] for fingerprint, key in owner.items() if key in numbers}
    return [
        (device[fingerprint], tick, metric, float(value))
        for (fingerprint, tick, metric), value in noticed.items()
        if fingerprint in device
    ]


def _add_samples(rows: list[Row]) -> None:
    """Add to the tick's samples: a tick may be flushed in parts, and by several workers."""
    table = Sample._meta.db_table
    statement = (
        f"INSERT INTO {table} (device_id, tick, metric, value) VALUES (%s, %s, %s, %s) "  # noqa: S608  because the name is Django's own
        f"ON CONFLICT (tick, device_id, metric) DO UPDATE SET value = {table}.value + excluded.value"
    )
    with connections["telemetry"].cursor() as cursor:
        cursor.executemany(statement, rows)
