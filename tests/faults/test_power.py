"""The power goes during enrolments and revocations: what somebody was told is still so, and the ledger knows all."""

import base64
import json
import random
import sqlite3
import subprocess
import sys
import threading

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs7

from fleet.environment import ROOT
from fleet.management.benches import ground
from fleet.management.quickstart.processes import Processes
from tests.factories.ports import lease_listeners
from tests.faults import power

#: one server for all of them: two at once would take the same ports
pytestmark = pytest.mark.xdist_group("power")
DEVICES, REVOKED, CUTS = 45, 12, 60
DATABASE = "/db/main.sqlite3"

REVOKE = """
import sys
from pathlib import Path
import django
django.setup()
from pki.kernel.actor import Actor, ActorKind, Role
from pki.models import Certificate
from pki.services import certificates
from tests.faults import power
by = Actor(ActorKind.OPERATOR, "anna", "default", frozenset({Role.SECURITY_OFFICER}), "test")
for one in Certificate.objects.filter(profile="device").order_by("id")[:int(sys.argv[2])]:
    certificates.revoke(actor=by, fingerprint=one.fingerprint, reason="superseded")
    power.say(Path(sys.argv[1]), f"revoked {one.fingerprint}")
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Return what ``record`` does, once."""
    return record(tmp_path_factory.mktemp("power"))


def record(base):
    """Return (the folder before, the steps) of a server that enrolled and revoked over its real gateway."""
    folder, trace = base / "fleet", base / "trace"
    folder.mkdir(mode=0o700)
    ports = lease_listeners()
    processes = Processes(folder, ports)
    made = ground.BenchSetUp(
        processes, {name: int(port) for name, port in ports.items()}, ground.create_bench_ca(folder, processes)
    )
    tokens = made.tokens(DEVICES)
    before = base / "before"
    subprocess.run(["cp", "-a", str(folder), str(before)], check=True)
    processes.environment |= power.environment(power.build(base), folder, trace)
    processes.start("serve", "manage.py", "serve")
    try:
        _enrol_devices(made, tokens[:1], trace)
        _enrol_devices(made, tokens[1:20], trace)
        rest = threading.Thread(target=_enrol_devices, args=(made, tokens[20:], trace))
        rest.start()
        environment = processes._environment() | {"DJANGO_SETTINGS_MODULE": "fleet.settings"}
        command = [sys.executable, "-c", REVOKE, str(trace), str(REVOKED)]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=60)
        rest.join()
    finally:
        processes.stop()
    return before, power.read(trace)


def _enrol_devices(made, tokens, trace):
    """Enrol devices one after the other, and write down what each was told."""
    for name, token in tokens:
        answer = made.patiently(ground.enrolment_request(name, token)[0])
        [leaf] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
        power.say(trace, f"enrolled {name} {leaf.fingerprint(hashes.SHA256()).hex()}")


def _problems(told, files, scratch):
    """Put the files of one cut into a folder and return what is wrong there."""
    for suffix in ("", "-wal", "-shm"):
        path = scratch / f"main.sqlite3{suffix}"
        path.unlink(missing_ok=True)
        if suffix != "-shm" and f"{DATABASE}{suffix}" in files:
            path.write_bytes(files[f"{DATABASE}{suffix}"])
    database = sqlite3.connect(scratch / "main.sqlite3")
    try:
        return [*_lost(database, told, files), *_unknown(database)]
    except sqlite3.DatabaseError as error:
        return [f"the database cannot be read: {error}"]
    finally:
        database.close()


def _lost(database, told, files):
    damages = database.execute("PRAGMA integrity_check").fetchall()
    if damages != [("ok",)]:
        yield f"the database is damaged: {damages[0][0]}"
    rows = database.execute("SELECT fingerprint, revoked_at IS NOT NULL FROM pki_certificate").fetchall()
    certificates = dict(rows)
    used = {
        name for (name,) in database.execute("SELECT device_name FROM devices_enrolmenttoken WHERE used_at IS NOT NULL")
    }
    facts = [json.loads(line) for line in _whole_lines(files.get("/journal/journal.jsonl", b""))]
    enrolled = {fact["name"] for fact in facts if fact["kind"] == "enrolled"}
    revoked = {fact["fingerprint"] for fact in facts if fact["kind"] == "revoked"}
    for sentence in told:
        kind, *words = sentence.split()
        if kind == "revoked" and not (certificates.get(words[0]) and words[0] in revoked):
            yield f"a revocation was lost: {words[0][:12]}"
        if kind == "enrolled" and words[1] not in certificates:
            yield f"a certificate was lost: {words[0]}"
        if kind == "enrolled" and not (words[0] in used and words[0] in enrolled):
            yield f"a token came back: {words[0]}"


def _unknown(database):
    details = database.execute("SELECT detail FROM pki_ledgerentry WHERE action = 'certificate.issued'").fetchall()
    known = {json.loads(detail)["fingerprint"] for (detail,) in details}
    for (fingerprint,) in database.execute("SELECT fingerprint FROM pki_certificate WHERE profile = 'device'"):
        if fingerprint not in known:
            yield f"the ledger does not know {fingerprint[:12]}"


def _whole_lines(data):
    for line in bytes(data).split(b"\n"):
        try:
            json.loads(line)
        except ValueError:
            continue
        yield line


def judge(traced, many, seed, scratch):
    """Return every problem of many cuts."""
    before, steps = traced
    wrong = []
    for told, files in power.cuts(before, steps, many, seed):
        wrong += _problems(told, files, scratch)
    return wrong


def test_a_power_cut_at_any_moment_loses_nothing_that_was_told(traced, tmp_path):
    told = [step.data.decode() for step in traced[1] if step.kind == power.SAID]
    assert sum(one.startswith("enrolled") for one in told) == DEVICES
    assert sum(one.startswith("revoked") for one in told) == REVOKED
    assert judge(traced, CUTS, 1, tmp_path) == []


def test_the_layer_would_see_it_if_nobody_waited_for_the_disk(traced, tmp_path):
    """Without the syncs of the database the same cuts lose what was told: the test can fail."""
    before, steps = traced
    lazy = [step for step in steps if not (step.kind == "S" and step.path.startswith(DATABASE))]
    assert judge((before, lazy), CUTS, 1, tmp_path) != []


def test_a_torn_write_is_part_of_the_model():
    disk = power.Disk({"/a": bytearray(b"old")})
    disk.step(power.Step("W", "/a", 0, b"NEW!"))
    left = {bytes(disk.cut(random.Random(seed), 0.5)["/a"]) for seed in range(200)}
    assert {b"old", b"NEW!", b"NEd"} <= left
    disk.step(power.Step("S", "/a", 0, b""))
    assert bytes(disk.cut(random.Random(1), 0)["/a"]) == b"NEW!"
