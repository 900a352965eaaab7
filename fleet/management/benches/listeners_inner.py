"""``python -m fleet.management.benches.listeners_inner ACT …``: what happens inside the bench's set-up; prints JSON."""

import hashlib
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

PATIENCE = 30
STEP, DRIFTING = 5000, ("bytes_out", "packets_out")
#: rows like those of enrolled devices; their keys do not exist
_DEVICES = """
INSERT INTO devices_device (domain_id, public_id, name, hardware_model_id, state, quarantine_reason, site, owner, tags,
    salt, audience, presence, created_at, enrolled_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)
SELECT d.domain_id, lower(hex(randomblob(16))), 'synthetic-' || n.i, d.hardware_model_id, 'active', '', '', '', '[]',
    x'', 'production', 'never', d.created_at, d.enrolled_at FROM n, devices_device d WHERE d.name = 'bench-000000'
"""
_TWINS = """
INSERT INTO devices_twin (device_id, desired, desired_version, reported, reported_version, report_sequence,
    config_version, config_fetched, fork_token, fork_previous)
SELECT id, '{}', 0, '{}', 0, 0, 0, 0, '', '' FROM devices_device WHERE name LIKE 'synthetic-%%' AND %s > 0
"""
_KEY = (
    "substr(d.public_id, 1, 8) || '-' || substr(d.public_id, 9, 4) || '-' || substr(d.public_id, 13, 4) || '-' || "
    "substr(d.public_id, 17, 4) || '-' || substr(d.public_id, 21)"
)
_CERTIFICATES = f"""
INSERT INTO pki_certificate (domain_id, public_id, authority_id, serial, fingerprint, subject_urn, subject_key,
    spki_sha256, profile, profile_name, der, not_before, not_after, revocation_reason, created_at)
SELECT c.domain_id, lower(hex(randomblob(16))), c.authority_id, lower(hex(randomblob(16))), lower(hex(randomblob(32))),
    'urn', {_KEY}, lower(hex(randomblob(32))), 'device', 'device', x'', c.not_before, c.not_after, '', c.created_at
FROM devices_device d, (SELECT * FROM pki_certificate WHERE profile = 'device' LIMIT 1) c
WHERE d.name LIKE 'synthetic-%%' AND %s > 0
"""  # noqa: S608  because no value of anybody stands in it


class StoredValues(TypedDict):
    """How many values devices have sent, how many of one metric were read back by query, and the last of these."""

    values: int
    read: int
    last: float | None


def main() -> None:
    """Set Django up on FLEET_DIR and run one action."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    sys.stdout.write(json.dumps(ACTS[sys.argv[1]](*sys.argv[2:])) + "\n")


def register_fleet(many: str) -> int:
    """Register devices with certificates in a few SQL statements (SQLite)."""
    from django.db import connection, transaction  # noqa: PLC0415  because of the set-up above

    from pki.services import changes  # noqa: PLC0415  because of the set-up above

    with transaction.atomic(), connection.cursor() as cursor:
        for statement in (_DEVICES, _TWINS, _CERTIFICATES):
            cursor.execute(statement, [int(many)])
        changes.note_changes()
    return int(many)


def assign_files(name: str, *files: str) -> list[str]:
    """Allow a device to fetch files: one bundle per file, and an open action. No release is measured."""
    from devices.models import Device  # noqa: PLC0415  because of the set-up above
    from ota import blobs  # noqa: PLC0415  because of the set-up above
    from ota.models import Assignment, Bundle, BundleFile  # noqa: PLC0415  because of the set-up above
    from pki.services import changes  # noqa: PLC0415  because of the set-up above

    device, digests = Device.objects.get(name=name), []
    bundle = Bundle.objects.create(
        domain=device.domain, digest=hashlib.sha256(name.encode()).hexdigest(), name=name, version="1", kind="firmware",
        format="generic", component="app", security_counter=1, manifest={}, report={}, facts={},
        uploaded_by_kind="system", uploaded_by_key="bench",
    )  # fmt: skip
    for number, file in enumerate(map(Path, files)):
        with file.open("rb") as source:
            digest, _ = blobs.blob_store().put(source, 1 << 30)
        BundleFile.objects.create(
            bundle=bundle, path=f"file-{number}", role="image", size=file.stat().st_size, sha256=digest, sha1="", md5=""
        )
        digests.append(digest)
    Assignment.objects.create(
        domain=device.domain, action_id=900_000 + device.pk, device=device, bundle=bundle, kind="update",
        status="scheduled", content_stamp=1,
    )  # fmt: skip
    changes.note_changes(device.key)
    return digests


def repeat_jobs(kind: str, seconds: str) -> int:
    """Repeat one kind of the worker's jobs; return the number of runs."""
    act = {"drift": _drift, "lists": _lists, "compression": _compression}[kind]()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()  # all processes start together
    done, until = 0, time.monotonic() + float(seconds)
    while time.monotonic() < until:
        act()
        done += 1
    return done


def _drift() -> Callable[[], None]:
    """Give every device two samples in the newest complete tick, and return a function that scores that tick again."""
    from django.conf import settings  # noqa: PLC0415  because of the set-up above

    from devices.models import Device, DriftState, Sample  # noqa: PLC0415  because of the set-up above
    from devices.services import drift  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above

    domain = TrustDomain.objects.get(slug="default")
    tick = int(time.time()) // settings.FLEET_DRIFT_TICK_S - 1 - drift.GRACE_TICKS
    devices = list(Device.objects.filter(domain=domain).values_list("pk", flat=True))
    rows = [Sample(device_id=key, tick=tick, metric=name, value=key % 97) for key in devices for name in DRIFTING]
    Sample.objects.bulk_create(rows, batch_size=STEP, ignore_conflicts=True)

    def act() -> None:
        DriftState.objects.filter(domain_id=domain.pk).update(updated_tick=tick - 1)
        drift.score_ticks(domain=domain)
        if DriftState.objects.get(domain_id=domain.pk).updated_tick < tick:
            msg = "the drift tick scored nothing"
            raise RuntimeError(msg)

    return act


def _lists() -> Callable[[], None]:
    """Return a function that builds and signs all CRLs again."""
    from pki.models import CrlShard, TrustDomain  # noqa: PLC0415  because of the set-up above
    from pki.services import crls  # noqa: PLC0415  because of the set-up above

    domain = TrustDomain.objects.get(slug="default")

    def act() -> None:
        CrlShard.objects.filter(domain=domain).update(dirty=True)
        crls.publish_due(domain=domain)

    return act


def _compression() -> Callable[[], None]:
    """Return a function that uses the processor like delta generation."""
    data = os.urandom(1 << 20) * 8

    def act() -> None:
        zlib.compress(data, 9)

    return act


def load_poll_cache() -> dict[str, float]:
    """Load the poll cache; return seconds, number of certificates, and bytes per device."""
    from fleet.gateway.poll_cache import PollCache  # noqa: PLC0415  because of the set-up above
    from fleet.gateway.poll_cache_sync import Follower  # noqa: PLC0415  because of the set-up above

    table = PollCache()
    follower = Follower(table, set, lambda _: None, lambda _: None)
    before, started = _resident(), time.monotonic()
    follower.look()
    took = time.monotonic() - started
    return {"seconds": took, "certificates": len(table), "bytes": (_resident() - before) / len(table)}


def write_changes(first: str, many: str) -> list[tuple[str, float]]:
    """Change devices one by one, each in its own commit; return the devices and the commit times."""
    from django.db import transaction  # noqa: PLC0415  because of the set-up above

    from devices.models import Device  # noqa: PLC0415  because of the set-up above
    from pki.services import changes  # noqa: PLC0415  because of the set-up above

    names = [f"synthetic-{number}" for number in range(int(first), int(first) + int(many))]
    rows = dict(Device.objects.filter(name__in=names).values_list("pk", "public_id"))
    done = []
    for pk, public_id in rows.items():
        with transaction.atomic():
            Device.objects.filter(pk=pk).update(state="suspended")
            changes.note_changes(str(public_id))
        done.append((str(public_id), time.monotonic()))
    return done


def follow_feed(many: str) -> list[tuple[str, float]]:
    """Follow the change feed like a listener; return which devices left the poll cache, and when."""
    from fleet.gateway import poll_cache_sync  # noqa: PLC0415  because of the set-up above
    from fleet.gateway.poll_cache import PollCache  # noqa: PLC0415  because of the set-up above
    from pki.models import Certificate  # noqa: PLC0415  because of the set-up above

    table = PollCache()
    follower = poll_cache_sync.Follower(table, set, lambda _: None, lambda _: None)
    follower.look()
    rows = Certificate.objects.filter(profile="device").order_by("id").values_list("fingerprint", "subject_key")
    subjects = {bytes.fromhex(fingerprint): subject for fingerprint, subject in rows[: int(many) + 100]}
    waiting = {one: key for one, key in subjects.items() if table.knows(one)}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    gone: list[tuple[str, float]] = []
    quiet = time.monotonic()
    while len(gone) < int(many) and time.monotonic() - quiet < PATIENCE:
        time.sleep(poll_cache_sync.LOOK_SECONDS)
        follower.look()
        now = time.monotonic()
        out = [one for one in waiting if not table.knows(one)]
        gone += [(waiting.pop(one), now) for one in out]
        quiet = now if out else quiet
    return gone


def count_stored(*names: str) -> StoredValues:
    """Count the values from devices, and read the newest values of one metric back by query."""
    from devices import selectors  # noqa: PLC0415  because of the set-up above
    from devices.models import Device, Series  # noqa: PLC0415  because of the set-up above

    keys = list(Device.objects.filter(name__in=names).values_list("pk", flat=True))
    values = sum(
        len(bytes(packed)) // 8 for packed in Series.objects.filter(device_id__in=keys).values_list("values", flat=True)
    )
    device = Device.objects.get(name=names[0])
    now = int(time.time() * 1000)
    series = selectors.read_series(device, "temp_c", now - 3_600_000, now + 3_600_000, 10_000)
    return {"values": values, "read": len(series), "last": series[-1][1] if series else None}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


ACTS: dict[str, Callable[..., object]] = {
    "fleet": register_fleet,
    "assign": assign_files,
    "busy": repeat_jobs,
    "load": load_poll_cache,
    "write": write_changes,
    "read": follow_feed,
    "stored": count_stored,
}

if __name__ == "__main__":
    main()
