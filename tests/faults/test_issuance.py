"""Issuance while things break: races, killed processes, a signer that is gone, a full disk, a clock that goes back."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from pki.kernel import clock
from pki.signer.operations import Operations
from pki.vault.store import Vault
from tests.architecture.sources import ROOT
from tests.factories.story import eventually

RACES, KILLS = 200, 5


def request(name):
    """Return a base64 request under a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(csr.public_bytes(serialization.Encoding.DER))


def enrol(story, secret, body):
    """Return (status, certificate or text)."""
    login = base64.b64encode(f"x:{secret}".encode()).decode()
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {login}"}
    status, _, answer = story.call("POST", "/.well-known/est/simpleenroll", body, headers)
    if status != 200:
        return status, answer.decode()
    [leaf] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
    return status, leaf


def tokens(story, names):
    made = story.rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": names})
    return {one["device"]: one["secret"] for one in made["results"]}


def pids(story):
    return json.loads((story.folder / "run" / "serve.json").read_text())["pids"]


@pytest.mark.xdist_group("story")
def test_of_two_who_race_for_one_token_exactly_one_wins(story):
    names = [f"race-{uuid.uuid4().hex[:10]}" for _ in range(RACES)]
    secrets = tokens(story, names)
    bodies = {name: (request(name), request(name)) for name in names}

    def race(name):
        start = threading.Barrier(2)

        def run(body):
            start.wait()
            return enrol(story, secrets[name], body)[0]

        with ThreadPoolExecutor(2) as pair:
            return sorted(pair.map(run, bodies[name]))

    results = [race(name) for name in names]
    assert results == [[200, 401]] * RACES


@pytest.mark.xdist_group("story")
def test_without_its_signer_a_listener_says_so_and_issues_nothing_until_it_is_back(story):
    name = f"signer-{uuid.uuid4().hex[:8]}"
    secret, body = tokens(story, [name])[name], request(name)
    os.kill(pids(story)["signer"], signal.SIGKILL)
    status, text = enrol(story, secret, body)
    assert status in {200, 503}, text
    if status == 503:
        assert "signer" in text
        assert story.rest.get(f"/devices?q={name}")["results"] == []
    eventually(lambda: enrol(story, secret, body)[0] == 200, 30)
    assert story.device(name)["state"] == "active"


class Fleet:
    """Devices that ask for a certificate until they have one, whatever happens to the listener."""

    def __init__(self, story, names):
        self.story, self.names, self.got = story, names, {}
        self.secrets, self.stop = tokens(story, names), threading.Event()

    def ask(self, part):
        for name in part:
            body = request(name)
            while name not in self.got and not self.stop.is_set():
                self.once(name, body)

    def once(self, name, body):
        try:
            status, leaf = enrol(self.story, self.secrets[name], body)
        except OSError:
            time.sleep(0.05)
            return
        if status == 200:
            self.got[name] = leaf
        else:
            assert status == 503, leaf


def issued(story):
    """Return the fingerprints that the ledger says were issued."""
    export = story.folder.parent / "ledger.jsonl"
    story.manage("ledger", "export", "--out", export)
    lines = [json.loads(line) for line in export.read_text().splitlines()]
    entries = [one["entry"] for one in lines if one["kind"] == "entry"]
    return [one["detail"]["fingerprint"] for one in entries if one["action"] == "certificate.issued"]


@pytest.mark.xdist_group("story")
def test_kill_9_of_the_listeners_leaves_no_certificate_that_the_ledger_does_not_know(story):
    fleet = Fleet(story, [f"kill-{uuid.uuid4().hex[:10]}" for _ in range(KILLS * 30)])
    with ThreadPoolExecutor(3) as pool:
        parts = [pool.submit(fleet.ask, fleet.names[place::3]) for place in range(3)]
        for _ in range(KILLS):
            time.sleep(0.4)
            for listener in ("device-door-1", "device-door-2"):
                with suppress(ProcessLookupError):  # it may not be up again yet
                    os.kill(pids(story)[listener], signal.SIGKILL)
        eventually(lambda: all(part.done() for part in parts), 120)
        fleet.stop.set()
        for part in parts:
            part.result()
    report = json.loads(story.manage("ledger", "verify", "--json").stdout)
    assert report["ok"], report["problems"]
    known = issued(story)
    assert len(known) == len(set(known))
    assert {leaf.fingerprint(hashes.SHA256()).hex() for leaf in fleet.got.values()} <= set(known)


DISK = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import django
django.setup()
from django.conf import settings
from django.db import connection
from devices.models import Device, EnrolmentToken, HardwareModel
from devices.proofs.claim import Shown
from devices.services import enrolment, tokens
from pki.kernel import actor as actors
from pki.models import Certificate, LedgerEntry, TrustDomain
from pki.x509 import parse_csr
import base64
domain = TrustDomain.objects.get(slug="default")
by = actors.system_actor("default", "test")
model = HardwareModel.objects.first()
request = parse_csr(base64.b64decode(sys.argv[1]))
made, secret = tokens.create(actor=by, hardware_model=model, device_name=sys.argv[2])
connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
try:
    enrolment.enrol(domain=domain, csr=request, via="test", shown=Shown(secret))
    print("no error")
except Exception as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
connection.close()
made.refresh_from_db()
print(made.state, Device.objects.filter(name=sys.argv[2]).count())
done = enrolment.enrol(domain=domain, csr=request, via="test", shown=Shown(secret))
print(done.device.state)
print(LedgerEntry.objects.filter(action="certificate.issued", object_key=done.device.key).count())
"""


@pytest.mark.xdist_group("story")
def test_a_full_disk_ends_an_enrolment_whole_and_later_it_succeeds(story):
    name = f"disk-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "FLEET_DIR": str(story.folder), "DJANGO_SETTINGS_MODULE": "fleet.settings"}
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-c", DISK, request(name).decode(), name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.split("\n")
    assert lines[0] in {"OperationalError", "OSError", "DatabaseError"}
    assert lines[1:4] == ["open 0", "active", "1"]


def test_a_clock_that_goes_back_takes_no_number_with_it(tmp_path, monkeypatch):
    operations = Operations(Vault(tmp_path, b"secret"))
    numbers = [operations._crl_number("default") for _ in range(3)]
    before = clock.now()
    monkeypatch.setattr(clock, "now", lambda: before - timedelta(days=400))
    numbers += [operations._crl_number("default") for _ in range(3)]
    assert numbers == sorted(set(numbers))
