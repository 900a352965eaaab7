"""Run the drift engine over the ticks that have passed, and open incidents; called by one leased job."""

import io
import json
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.conf import settings
from django.db import transaction

from devices.drift import explain
from devices.drift.engine import VERSION, Shard, Step, threshold
from devices.drift.metrics import METRICS, Array
from devices.drift.novelty import Novelty
from devices.models import Device, DriftState, Incident, Observation, Sample
from devices.services import incidents
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.models import TrustDomain

#: whole ticks left open for batches that come late
GRACE_TICKS = 1
MOST_TICKS = 120
_COLUMNS = {metric.name: column for column, metric in enumerate(METRICS)}


@dataclass(slots=True)
class _Member:
    """What the engine may know of a device: its name and which cohort it is in."""

    device: Device
    cohort: str


def tick(*, domain: TrustDomain) -> list[Incident]:
    """Score every whole tick since the last run; return the incidents opened or extended."""
    newest = clock.unix() // settings.FLEET_DRIFT_TICK_S - 1 - GRACE_TICKS
    members = _members(domain)
    state, shard, novelty = _load(domain)
    first = max(state.updated_tick + 1, newest - MOST_TICKS)
    found: list[Incident] = []
    for number in range(first, newest + 1):
        found += _one(domain, number, members, shard, novelty)
    if newest >= first:
        _save(state, newest, shard, novelty)
    return found


def _one(
    domain: TrustDomain, number: int, members: dict[int, _Member], shard: Shard, novelty: Novelty
) -> list[Incident]:
    samples = list(
        Sample.objects.filter(tick=number, device_id__in=members).values_list("device_id", "metric", "value")
    )
    if not samples:
        return []
    shard.admit(np.unique(np.array([row[0] for row in samples], np.int64)))
    row_of = {int(device): row for row, device in enumerate(shard.device)}
    x = np.full((len(row_of), len(METRICS)), np.nan)
    for device, metric, value in samples:
        if metric in _COLUMNS:
            x[row_of[device], _COLUMNS[metric]] = value
    cohort = np.array([_number(members[device].cohort) for device in row_of if device in members], np.int64)
    open_now = set(
        Incident.objects.filter(domain=domain, state=Incident.State.OPEN).values_list("device_id", flat=True)
    )
    frozen = np.array([device in open_now for device in row_of])
    hours = settings.FLEET_DRIFT_TICK_S / 3600
    step = shard.step(x, cohort, frozen, settings.FLEET_DRIFT_LEARN_TICKS, hours)
    strange = _strange(number, members, shard, novelty, row_of)
    return _raise(domain, number, members, row_of, x, step, strange)


def _strange(
    number: int, members: dict[int, _Member], shard: Shard, novelty: Novelty, row_of: dict[int, int]
) -> dict[int, list[str]]:
    seen: dict[int, set[str]] = defaultdict(set)
    for device, key in Observation.objects.filter(tick=number, device_id__in=members).values_list("device_id", "key"):
        seen[device].add(key)
    found = {}
    for device, keys in seen.items():
        if device not in row_of:
            continue
        learning = int(shard.n[row_of[device]]) <= settings.FLEET_DRIFT_LEARN_TICKS
        hardware = members[device].device.hardware_model.name
        if strange := novelty.see(device, hardware, frozenset(keys), learning=learning):
            found[device] = strange
    return found


def _raise(
    domain: TrustDomain,
    number: int,
    members: dict[int, _Member],
    row_of: dict[int, int],
    x: Array,
    step: Step,
    strange: dict[int, list[str]],
) -> list[Incident]:
    theta = threshold(settings.FLEET_DRIFT_TICK_S / 3600)
    opened = datetime.fromtimestamp(number * settings.FLEET_DRIFT_TICK_S, UTC).isoformat()
    actor = actors.system(domain.slug, "drift")
    found = []
    for device, row in row_of.items():
        numeric = float(step.score[row]) > theta
        if not (numeric or device in strange) or device not in members:
            continue
        member = members[device]
        kin = {
            one.device.name: row_of[key]
            for key, one in members.items()
            if one.cohort == member.cohort and key in row_of
        }
        case = explain.Case(member.device.name, member.cohort, row, opened, theta, strange.get(device, []))
        found.append(
            incidents.raise_for(
                actor=actor,
                device=member.device,
                severity="high" if numeric and device in strange else "medium",
                explanation=explain.record(case, step, x, kin),
            )
        )
    return found


def _members(domain: TrustDomain) -> dict[int, _Member]:
    rows = Device.objects.filter(domain=domain, state=Device.State.ACTIVE).select_related(
        "hardware_model", "twin", "domain"
    )
    return {row.pk: _Member(row, f"{row.hardware_model.name}|{_firmware(row)}") for row in rows}


def _firmware(device: Device) -> str:
    components = device.twin.reported.get("components", {})
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
    keys = json.dumps(novelty.plain()).encode()
    state.blob = struct.pack(">I", len(keys)) + keys + shard.dumps()
    state.updated_tick = newest
    with transaction.atomic(using="telemetry"):
        state.save()
