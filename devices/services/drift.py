"""Run the drift engine over the ticks that have passed, and open incidents; called by one leased job."""

import io
import json
import logging
import struct
import sys
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.conf import settings
from django.db import transaction

from devices.drift import explain
from devices.drift.engine import VERSION, DriftStep, Shard, threshold
from devices.drift.metrics import METRICS, Array
from devices.drift.novelty import Novelty
from devices.models import Device, DriftState, Incident, Observation, Sample
from devices.services import incidents
from devices.twin_documents import ReportedTwin
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.models import TrustDomain

#: complete ticks that are not scored yet, so that late batches still count
GRACE_TICKS = 1
MOST_TICKS = 120
_logger = logging.getLogger(__name__)
_COLUMNS = {metric.name: column for column, metric in enumerate(METRICS)}


@dataclass(slots=True)
class _Member:
    """Facts of a device for the engine: its name, the name of its hardware model, and its cohort."""

    name: str
    hardware: str
    cohort: str


def score_ticks(*, domain: TrustDomain) -> list[Incident]:
    """Score every whole tick since the last run; return the incidents opened or extended."""
    # Check first: the job runs more often than ticks end, and reading a fleet without new samples costs time.
    first, newest = unscored_ticks(domain=domain)
    if first > newest or not Sample.objects.filter(tick__gte=first, tick__lte=newest).exists():
        return []
    state, shard, novelty = _load(domain)
    members = _members(domain)
    opened: list[Incident] = []
    for number in range(first, newest + 1):
        opened += _one(domain, number, members, shard, novelty)
    _save(state, newest, shard, novelty)
    return opened


def unscored_ticks(*, domain: TrustDomain) -> tuple[int, int]:
    """Return the first tick without a score, and the newest complete tick; the first is higher if all have scores."""
    newest = clock.unix() // settings.FLEET_DRIFT_TICK_S - 1 - GRACE_TICKS
    kept = DriftState.objects.filter(domain_id=domain.pk, version=VERSION).values_list("updated_tick", flat=True)
    last = kept.first()
    return max(newest - MOST_TICKS, newest if last is None else last + 1), newest


@dataclass(frozen=True, slots=True)
class _Tick:
    """One tick of one domain: its number, the raw values, and which row belongs to which device."""

    number: int
    members: dict[int, _Member]
    row_of: dict[int, int]
    x: Array


def _one(
    domain: TrustDomain, number: int, members: dict[int, _Member], shard: Shard, novelty: Novelty
) -> list[Incident]:
    # Read the whole tick and filter here: a statement cannot list the ids of a whole fleet.
    rows = Sample.objects.filter(tick=number).values_list("device_id", "metric", "value")
    samples = [row for row in rows.iterator(chunk_size=2000) if row[0] in members]
    if not samples:
        return []
    shard.admit(np.unique(np.array([row[0] for row in samples], np.int64)))
    now = _Tick(number, members, {int(device): row for row, device in enumerate(shard.device)}, _empty(shard))
    for device, metric, value in samples:
        if metric in _COLUMNS:
            now.x[now.row_of[device], _COLUMNS[metric]] = value
    # A device that is out of service keeps its row; it reports nothing, so its cohort does not matter.
    cohort = np.array([_number(members[d].cohort) if d in members else 0 for d in now.row_of], np.int64)
    opened = Incident.objects.filter(domain=domain, state=Incident.State.OPEN).values_list("device_id", flat=True)
    frozen = np.isin(shard.device, np.array(list(opened), np.int64))
    hours = settings.FLEET_DRIFT_TICK_S / 3600
    step = shard.step(now.x, cohort, frozen, settings.FLEET_DRIFT_LEARN_TICKS, hours)
    return _raise(domain, now, step, _strange(now, shard, novelty))


def _empty(shard: Shard) -> Array:
    return np.full((shard.device.size, len(METRICS)), np.nan)


def _strange(now: _Tick, shard: Shard, novelty: Novelty) -> dict[int, list[str]]:
    seen: dict[int, set[str]] = defaultdict(set)
    rows = Observation.objects.filter(tick=now.number).values_list("device_id", "key")
    for device, key in rows.iterator(chunk_size=2000):
        if device in now.members:
            seen[device].add(key)
    found = {}
    for device, keys in seen.items():
        if device not in now.row_of:
            continue
        learning = int(shard.reports[now.row_of[device]]) <= settings.FLEET_DRIFT_LEARN_TICKS
        hardware = now.members[device].hardware
        if strange := novelty.see(device, hardware, frozenset(keys), learning=learning):
            found[device] = strange
    return found


def _raise(domain: TrustDomain, now: _Tick, step: DriftStep, strange: dict[int, list[str]]) -> list[Incident]:
    theta = threshold(settings.FLEET_DRIFT_TICK_S / 3600)
    at = datetime.fromtimestamp(now.number * settings.FLEET_DRIFT_TICK_S, UTC)
    # Deviations from before an incident was closed belong to that incident: one incident per change.
    settled = Incident.objects.filter(domain=domain, closed_at__gte=at).values_list("device_id", flat=True)
    known = set(settled)
    actor = actors.system_actor(domain.slug, "drift")
    raised = []
    for device, row in now.row_of.items():
        numeric = float(step.score[row]) > theta
        if not (numeric or device in strange) or device not in now.members or device in known:
            continue
        member = now.members[device]
        keys, tick_s = strange.get(device, []), settings.FLEET_DRIFT_TICK_S
        case = explain.FlaggedTick(member.name, member.cohort, row, at.isoformat(), theta, keys, tick_s)
        raised.append(
            incidents.raise_for(
                actor=actor,
                device=Device.objects.select_related("hardware_model", "twin", "domain").get(pk=device),
                severity="high" if numeric and device in strange else "medium",
                explanation=explain.explain_step(case, step, now.x, _cohort_rows(now, member)),
            )
        )
    return raised


def _cohort_rows(now: _Tick, member: _Member) -> dict[str, int]:
    """Return the rows of the device's cohort by name."""
    return {
        other.name: now.row_of[key]
        for key, other in now.members.items()
        if other.cohort == member.cohort and key in now.row_of
    }


def _members(domain: TrustDomain) -> dict[int, _Member]:
    # Columns instead of objects: reading 100,000 devices takes a twentieth of the time and memory.
    rows = Device.objects.filter(domain=domain, state=Device.State.ACTIVE)
    fields = rows.values_list("pk", "name", "hardware_model__name", "twin__reported").iterator(chunk_size=2000)
    return {
        pk: _Member(name, hardware, sys.intern(f"{hardware}|{_firmware(reported or {})}"))
        for pk, name, hardware, reported in fields
    }


def _firmware(reported: ReportedTwin) -> str:
    components = reported.get("components", {})
    return "+".join(f"{name}={components[name].get('version', '?')}" for name in sorted(components)) or "?"


def _number(cohort: str) -> int:
    """Return a number for a cohort's name that stays the same from tick to tick."""
    return zlib.crc32(cohort.encode())


def _load(domain: TrustDomain) -> tuple[DriftState, Shard, Novelty]:
    start = clock.unix() // settings.FLEET_DRIFT_TICK_S - 2 - GRACE_TICKS
    state = DriftState.objects.filter(domain_id=domain.pk, version=VERSION).first()
    if state is None:
        return DriftState(domain_id=domain.pk, version=VERSION, updated_tick=start), Shard(), Novelty()
    stream = io.BytesIO(bytes(state.blob))
    (length,) = struct.unpack(">I", stream.read(4))
    novelty = Novelty.of(json.loads(stream.read(length)))
    return state, Shard.loads(stream.read()), novelty


def _save(state: DriftState, newest: int, shard: Shard, novelty: Novelty) -> None:
    """Store the engine's state, unless another worker has stored a newer one."""
    keys = json.dumps(novelty.plain()).encode()
    with transaction.atomic(using="telemetry"):
        kept = DriftState.objects.select_for_update().filter(domain_id=state.domain_id, version=VERSION)
        if (row := kept.defer("blob").first()) is not None and row.updated_tick != state.updated_tick:
            _logger.warning("another worker also scored these ticks", extra={"tick": newest})
            return
        state.blob = struct.pack(">I", len(keys)) + keys + shard.dumps()
        state.updated_tick = newest
        state.save()
