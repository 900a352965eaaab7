"""Fill a trust domain with devices that have a history, in steps of bounded memory; always with the same data.

Each device has a twin, five finished updates (some of the last rollout are in progress), six audit-log entries and
1.2 certificates. Most devices were seen recently, some are late, some were never seen; one in two hundred had an
incident. The properties of a device follow from its number, so that ten devices include some of each kind.
"""

import hashlib
import random
import sys
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connections, transaction
from django.db.models.functions import Mod

from devices.contact_words import SHORTEST_POLL_S
from devices.models import (
    Device,
    DeviceLog,
    Group,
    GroupMember,
    Incident,
    Presence,
    Sample,
    Series,
    SourceNetwork,
    Twin,
)
from devices.services import fleet_counts, presence_words
from fleet.management.benches.growth_scene import FIRST, GROUP, SHARES, Scene, Update, incident_explanation, load_scene
from ota.models import Assignment, AssignmentEvent, Command
from pki.kernel import clock
from pki.models import Certificate, LedgerEntry, LedgerHead, TrustDomain, prepared_sql
from pki.services import ledger, numbers

SEED, STEP, TICKS, MEMBERS = 15, 1000, 240, 100
#: one device in this many is late, and one is overdue
LATE_SHARE = 25
SITES, OWNERS, TAGS = 40, 300, ("pilot", "canary", "edge", "outdoor", "legacy", "line-1", "line-2", "lab")
OPEN = ("scheduled", "retrieved", "running", "download", "downloaded", "installed")
#: audit-log entries of each device: action and details
ACTS = (
    "device.registered",
    "certificate.issued",
    "device.described",
    "device.offered",
    "device.audience",
    "twin.config",
)


@dataclass(frozen=True, slots=True)
class SyntheticDevice:
    """One synthetic device: number, public id, internal id and time of enrolment."""

    number: int
    public_id: uuid.UUID
    pk: int
    at: datetime

    @property
    def name(self) -> str:
        """Return the device's name."""
        return f"device-{self.number:07}"

    @property
    def retired(self) -> bool:
        """Return whether the device is out of service."""
        return self.falls(100, 9)

    @property
    def late(self) -> bool:
        """Return whether the device has not finished the running rollout's update."""
        return self.falls(40, 2)

    def falls(self, one_in: int, index: int) -> bool:
        """Return whether the device is one of every ``one_in`` devices, at this place."""
        return self.number % one_in == index


def fill_fleet(domain: TrustDomain, many: int) -> int:
    """Add devices up to this number; return how many were added."""
    scene = load_scene(domain)
    have = Device.objects.filter(domain=domain, name__startswith="device-").count()
    _hurry()
    for start in range(have, many, STEP):
        _step(scene, range(start, min(start + STEP, many)))
        while ledger.sequence_leaves(domain=domain):
            continue
        if start % (50 * STEP) == 0:
            sys.stderr.write(f"{start} devices\n")  # progress: filling takes minutes
    if have < many:
        _example(domain)
        freshen_contacts(domain)
        fleet_counts.recount_fleet(domain=domain)  # devices were written without their counts
    _settle()
    return max(many - have, 0)


def freshen_contacts(domain: TrustDomain) -> None:
    """Set the times of last contact as in an active fleet, and update the presence states."""
    _see_anew()
    presence_words.sweep_presence()
    _see_anew()  # many words take long to write
    Incident.objects.filter(domain=domain, state="open").update(last_seen_at=clock.now())


def _see_anew() -> None:
    now = clock.now()
    for index in range(LATE_SHARE):
        rows = Presence.objects.annotate(place=Mod("device_id", LATE_SHARE)).filter(place=index)
        rows.update(last_seen=now - _silence(index, index / LATE_SHARE))


def _silence(number: int, usual: float) -> timedelta:
    """Return the time since the last contact: some devices are late, some overdue (``devices.contact_words``).

    Args:
        number: of the device.
        usual: polling intervals for the other devices.
    """
    poll = timedelta(seconds=max(settings.FLEET_POLL_S, SHORTEST_POLL_S))
    return poll * {4: 2.2, 5: 40.0}.get(number % LATE_SHARE, usual)


def _hurry() -> None:
    """Let SQLite cache more in memory and skip waiting for the disk while the database is filled."""
    for alias in connections:
        if connections[alias].vendor == "sqlite":
            with connections[alias].cursor() as cursor:
                cursor.execute("PRAGMA synchronous=OFF")
                cursor.execute("PRAGMA cache_size=-400000")


def _settle() -> None:
    """Run the databases' housekeeping, so that they are as on a long-running server."""
    for alias in connections:
        with connections[alias].cursor() as cursor:
            sqlite = connections[alias].vendor == "sqlite"
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)" if sqlite else "VACUUM ANALYZE")


def _step(scene: Scene, wanted: range) -> None:
    source = random.Random(f"{SEED} {wanted.start}")  # noqa: S311  because it makes the fleet's variety
    actions = numbers.reserve_small(domain=scene.domain, name="ddi-action", many=len(wanted) * len(scene.updates))
    with transaction.atomic():
        devices = _devices(scene, wanted, source)
        _twins(scene, devices)
        _certificates(scene, devices, source)
        for index, update in enumerate(scene.updates):
            _assignments(scene, update, devices, actions[index * len(devices) :])
        _incidents(scene, devices)
        _entries(scene, devices)
    _hear(devices, source)


def _devices(scene: Scene, wanted: range, source: random.Random) -> list[SyntheticDevice]:
    names = ("domain_id", "public_id", "name", "hardware_model_id", "state", "audience", "quarantined_at",
             "quarantine_reason", "site", "owner", "tags", "enrolled_at", "created_at", "presence",
             "trusted_roots")  # fmt: skip
    rows, plans = [], {}
    for number in wanted:
        at = clock.now() - timedelta(days=source.randrange(200, 900), seconds=source.randrange(86_400))
        public_id = _uuid7(at, source)
        plan = plans[number] = SyntheticDevice(number, public_id, 0, at)
        held = plan.falls(400, 7)
        state = "retired" if plan.retired else {11: "suspended", 13: "pending"}.get(number % 200, "active")
        audience = {0: "lab", 1: "canary"}.get(number % 20, "production")
        tags = sorted({source.choice(TAGS) for _ in range(number % 3)})
        site, owner = f"Hall {source.randrange(SITES)}", f"owner-{source.randrange(OWNERS)}@example.org"
        word = "" if plan.retired else "never"
        rows.append((scene.domain.pk, public_id, plan.name, scene.models[number % len(scene.models)], state, audience,
                     at if held else None, "drift" if held else "", site, owner, tags, at, at, word,
                     "cd" * 8))  # fmt: skip
    prepared_sql.create_many(Device, names, rows)
    names_to_keys = dict(
        Device.objects.filter(domain=scene.domain, name__in=[device.name for device in plans.values()]).values_list(
            "name", "pk"
        )
    )
    return [
        SyntheticDevice(device.number, device.public_id, names_to_keys[device.name], device.at)
        for device in plans.values()
    ]


def _uuid7(at: datetime, source: random.Random) -> uuid.UUID:
    """Return an id as ``pki.kernel.ids`` creates it, with a given time and seed."""
    bits = source.getrandbits(74)
    high, low = bits >> 62, bits & ((1 << 62) - 1)
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


def _twins(scene: Scene, devices: list[SyntheticDevice]) -> None:
    head = LedgerHead.objects.filter(domain=scene.domain).order_by("-id").first()
    seen = {"head": [head.epoch, head.size, head.root_hash]} if head else {}
    now, rows = clock.now(), []
    for device in devices:
        last = scene.updates[-2 if device.late else -1].version
        running = {"version": last, "sha256": _digest(f"image {last}"), "counter": int(last[0]), "confirmed": True}
        parts = {"app": running | {"signed": True}, "boot": {"version": f"b{device.number % 4}", "confirmed": True}}
        asked = dict.fromkeys(("metadata", "documents", "director"), int(now.timestamp()) - device.number % 20_000)
        reported = {"components": parts, "proof": {"client": "native", **asked}, "anchors": ["cd" * 32], **seen}
        wish = {"version": scene.updates[-1].version, "counter": int(scene.updates[-1].version[0])}
        desired = {"components": {"app": wish}, "config": {"interval_s": 60 + device.number % 7}}
        rows.append((device.pk, desired, 5, 5, 5, reported, 40 + device.number % 50, 40, now - timedelta(hours=1)))
    names = ("device_id", "desired", "desired_version", "config_version", "config_fetched", "reported",
             "reported_version", "report_sequence", "reported_at")  # fmt: skip
    prepared_sql.create_many(Twin, names, rows)


def _assignments(scene: Scene, update: Update, devices: list[SyntheticDevice], actions: range) -> None:
    rows = []
    for action, device in zip(actions, devices, strict=False):
        wave = next(
            index for index, share in enumerate(SHARES) if device.number * 7919 % 1000 < share or not device.number
        )
        at = clock.now() - timedelta(days=2 + 30 * (len(scene.updates) - int(update.version[0]) + 1))
        status, reason = "finished", "confirmed"
        if update.running and device.late:
            status, reason = OPEN[device.number // 40 % len(OPEN)], ""
        elif update.running and device.falls(300, 8):
            status, reason = "error", f"the device did not confirm: cause {device.number // 300 % 5}"
        closed = None if status in OPEN else at
        rows.append((scene.domain.pk, action, update.rollout, update.waves[wave], device.pk, update.bundle, "update",
                     status, reason, update.previous, int(at.timestamp()) & 0x7FFF_FFFF, at, at, closed))  # fmt: skip
    names = ("domain_id", "action_id", "rollout_id", "wave_id", "device_id", "bundle_id", "kind", "status", "reason",
             "previous_bundle_id", "content_stamp", "created_at", "updated_at", "closed_at")  # fmt: skip
    prepared_sql.create_many(Assignment, names, rows)
    if update.running:
        under_way = Assignment.objects.filter(
            rollout=update.rollout, action_id__in=actions[: len(devices)], closed_at=None
        )
        said = [(key, status, "at it") for key, status in under_way.values_list("pk", "status") for _ in range(2)]
        prepared_sql.create_many(AssignmentEvent, ("assignment_id", "status", "text"), said)


def _certificates(scene: Scene, devices: list[SyntheticDevice], source: random.Random) -> None:
    """Give each device a certificate, and every fifth device an expired earlier one."""
    renewed = [device for device in devices if device.number % 5 == 0]
    past = [_certificate(scene, device, source, device.at, None) for device in renewed]
    prepared_sql.create_many(Certificate, _CERTIFICATE, past)
    rows = Certificate.objects.filter(fingerprint__in=[row[3] for row in past]).values_list("subject_key", "pk")
    before = dict(rows)
    newest = clock.now() - timedelta(days=30)
    present = []
    for device in devices:
        at = device.at if device.retired else newest - timedelta(days=device.number % 300)
        present.append(_certificate(scene, device, source, at, before.get(str(device.public_id))))
    prepared_sql.create_many(Certificate, _CERTIFICATE, present)


_CERTIFICATE = (
    "domain_id", "authority_id", "serial", "fingerprint", "subject_urn", "subject_key", "spki_sha256", "profile",
    "profile_name", "der", "not_before", "not_after", "renewed_from_id", "created_at",
)  # fmt: skip


def _certificate(
    scene: Scene, device: SyntheticDevice, source: random.Random, at: datetime, before: int | None
) -> tuple[object, ...]:
    """Return a row like the first device's certificate, with another serial number in its bytes."""
    first = scene.certificate
    number = int(first.serial, 16)
    old = number.to_bytes((number.bit_length() + 7) // 8, "big")
    new = old[:1] + source.randbytes(len(old) - 1)
    der, key = bytes(first.der).replace(old, new, 1), str(device.public_id)
    # A retired device's certificate has expired, as in a fleet after some time.
    life = timedelta(days=100) if device.retired or (before is None and at == device.at) else timedelta(days=365)
    return (scene.domain.pk, first.authority_id, f"{int.from_bytes(new, 'big'):x}", hashlib.sha256(der).hexdigest(),
            first.subject_urn.replace(first.subject_key, key), key, _digest(f"{key} {at}"), "device",
            first.profile_name, der, at, at + life, before, at)  # fmt: skip


def _incidents(scene: Scene, devices: list[SyntheticDevice]) -> None:
    rows = []
    for device in (device for device in devices if device.falls(200, 3)):
        is_open, at = device.falls(1000, 3), clock.now() - timedelta(days=device.number % 90, hours=1)
        closed_at, explained = None if is_open else at, incident_explanation(device.name)
        rows.append((scene.domain.pk, device.pk, "open" if is_open else "closed", "corroborated", "high", 8.0,
                     explained, "" if is_open else "benign", at, at, closed_at))  # fmt: skip
    names = ("domain_id", "device_id", "state", "layer", "severity", "score", "explanation", "verdict", "opened_at",
             "last_seen_at", "closed_at")  # fmt: skip
    prepared_sql.create_many(Incident, names, rows)


def _entries(scene: Scene, devices: list[SyntheticDevice]) -> None:
    """Write the audit-log entries that services would record for these devices; the sequencer orders them."""
    names = ("domain_id", "at", "actor_kind", "actor_key", "via", "action", "object_kind", "object_key", "detail",
             "leaf_hash", "public_id")  # fmt: skip
    rows = []
    for device in devices:
        key = str(device.public_id)
        for index, action in enumerate(ACTS):
            entry = LedgerEntry(
                domain=scene.domain, at=(device.at + timedelta(hours=index)).replace(microsecond=0), action=action,
                actor_kind="system" if index else "device", actor_key="bench" if index else key, via="est",
                object_kind="device", object_key=key, detail={"number": device.number},
            )  # fmt: skip
            values = [getattr(entry, name) for name in names[1:9]]
            rows.append((scene.domain.pk, *values, ledger.leaf_hash(entry), entry.public_id))
    prepared_sql.create_many(LedgerEntry, names, rows)


def _hear(devices: list[SyntheticDevice], source: random.Random) -> None:
    """Write when each device was last seen, and from which networks."""
    now, tick, seen, networks = clock.now(), clock.unix() // settings.FLEET_DRIFT_TICK_S, [], []
    for device in devices:
        if device.falls(50, 6) or device.retired:
            continue
        octets = f"10.{device.number >> 16 & 255}.{device.number >> 8 & 255}"
        at = now - _silence(device.number, source.random())
        seen.append(Presence(device_id=device.pk, last_seen=at, address=f"{octets}.{device.number & 255}"))
        networks.append(SourceNetwork(device_id=device.pk, prefix=f"{octets}.0/24", last_tick=tick - 3))
        if device.number % 5 == 0:
            networks.append(SourceNetwork(device_id=device.pk, prefix="198.51.100.0/24", last_tick=tick - 300))
    Presence.objects.bulk_create(seen, batch_size=STEP, ignore_conflicts=True)
    SourceNetwork.objects.bulk_create(networks, batch_size=STEP, ignore_conflicts=True)


def example_device(domain: TrustDomain) -> Device:
    """Return the device whose pages are measured: from the middle of the fleet, with data."""
    rows = Device.objects.filter(domain=domain, name__startswith="device-", state="active")
    there = rows.filter(pk__in=Incident.objects.filter(domain=domain, state="open").values("device_id")).order_by("pk")
    return there[there.count() // 2]


def _example(domain: TrustDomain) -> None:
    """Give one device data that the others lack: samples, a series, a log, commands, a group."""
    device, tick = example_device(domain), clock.unix() // settings.FLEET_DRIFT_TICK_S
    if Command.objects.filter(device=device).exists():
        return
    names = ("bytes_out", "packets_out", "requests")
    samples = [
        Sample(device_id=device.pk, tick=tick - back, metric=name, value=100 + back % 7)
        for name in names for back in range(3, TICKS)
    ]  # fmt: skip
    Sample.objects.bulk_create(samples, ignore_conflicts=True)
    day = clock.unix() // 86_400
    Series.objects.create(
        device_id=device.pk,
        metric="temp_c",
        day=day,
        start=clock.unix() * 1000 - 60_000,
        step_ms=1000,
        values=bytes(480),
    )
    DeviceLog.objects.create(device_id=device.pk, at=clock.now(), reason="failure", text="the log of a device\n" * 50)
    for number, kind in enumerate(Command.Kind.values):
        closed = clock.now() if number else None
        Command.objects.create(
            domain=domain, device=device, kind=kind, state="done" if closed else "waiting", created_by="bench",
            expires_at=clock.now() + timedelta(days=30), closed_at=closed,
        )  # fmt: skip
    group = Group.objects.get(domain=domain, name=GROUP)
    keys = Device.objects.filter(domain=domain).exclude(name=FIRST).values_list("pk", flat=True)[:MEMBERS]
    GroupMember.objects.bulk_create([GroupMember(group=group, device_id=key) for key in keys], ignore_conflicts=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
