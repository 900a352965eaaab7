"""Last contact and traffic of devices, collected in memory and written in batches."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, transaction

from devices import metrics
from devices.models import Device
from devices.services import observed
from devices.services.observed import Row
from pki.kernel import clock
from pki.models import Certificate

#: limit of observations between two writes; more are dropped
MOST_NOTICED = 50_000
CLIENT_ERROR, NOT_LET_IN, SERVER_ERROR = 400, {401, 403}, 500
AT_ONCE = 500


@dataclass(slots=True)
class _HeardDevices:
    seen: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    counts: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    noticed: dict[tuple[str, int, str], int] = field(default_factory=dict)
    measured: list[Row] = field(default_factory=list)


_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_gathered = _HeardDevices()


def note_request(device_id: int, address: str, bytes_in: int, bytes_out: int, *, routine: bool = True) -> None:
    """Note one request of a device; nothing is written yet.

    Args:
        device_id: internal id.
        address: where it came from.
        bytes_in: size of the request's body.
        bytes_out: size of the answer's body.
        routine: an ordinary request; only those count as behaviour, since the server itself causes downloads.
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
    """Count many requests at once, as a listener's fast path reports them.

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


def note_peer(fingerprint: str, *names: str) -> None:
    """Record observations about the peer of a certificate, which need not be one of our devices; not written yet.

    Args:
        fingerprint: hex SHA-256 of the certificate; empty for none.
        names: out of ``metrics.NOTICED``, each once more.
    """
    tick = int(clock.now().timestamp()) // settings.FLEET_DRIFT_TICK_S
    with _lock:
        if not fingerprint or len(_gathered.noticed) >= MOST_NOTICED:
            return
        for name in names:
            key = (fingerprint, tick, name)
            _gathered.noticed[key] = _gathered.noticed.get(key, 0) + 1


def note_answer(fingerprint: str, status: int) -> None:
    """Note how a request was answered, by its status in HTTP's numbers."""
    if status >= SERVER_ERROR:
        note_peer(fingerprint, "http_5xx")
    elif status in NOT_LET_IN:
        note_peer(fingerprint, "http_4xx", "auth_failures")
    elif status >= CLIENT_ERROR:
        note_peer(fingerprint, "http_4xx")


def note_measured(device_id: int, name: str, value: float) -> None:
    """Note a value that the server has measured of a device; nothing is written yet.

    Args:
        device_id: internal id.
        name: out of ``metrics.OBSERVED``; how it is combined with others of its tick is said there.
        value: in the metric's unit.
    """
    tick = int(clock.now().timestamp()) // settings.FLEET_DRIFT_TICK_S
    with _lock:
        if len(_gathered.measured) < MOST_NOTICED:
            _gathered.measured.append((device_id, tick, name, value))


def flush_presence() -> int:
    """Write what was collected in one transaction; return how many devices were seen."""
    batch = _taken()
    if not batch.seen and not batch.noticed and not batch.measured:
        return 0
    try:
        noticed = _of_devices(batch.noticed)
    except DatabaseError:  # the other database failed; this one is written anyway
        _logger.warning("certificate observations could not be matched to devices and were lost", exc_info=True)
        noticed = []
    with transaction.atomic(using="telemetry"):
        rows = observed.write_contacts(batch.seen)
        observed.add_samples(rows + _traffic(batch.counts) + noticed + batch.measured)
    return len(batch.seen)


def drop_unwritten() -> None:
    """Drop what was collected and not written."""
    _taken()


def _taken() -> _HeardDevices:
    global _gathered
    with _lock:
        batch, _gathered = _gathered, _HeardDevices()
    return batch


def write_gathered() -> None:
    """Write what was collected; a database error does not stop the listener."""
    try:
        flush_presence()
    except Exception:
        _logger.exception("presence could not be written")


def _traffic(counts: dict[tuple[int, int], list[int]]) -> list[Row]:
    return [
        (device, tick, metric, float(value))
        for (device, tick), values in counts.items()
        for metric, value in zip(metrics.TRAFFIC, values, strict=True)
    ]


def _of_devices(noticed: dict[tuple[str, int, str], int]) -> list[Row]:
    """Return observations of certificates as samples of their devices; drop those of unknown certificates."""
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
