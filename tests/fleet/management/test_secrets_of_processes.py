"""Secrets of the environment reach the processes that need them, and stand in no process's environment."""

import json
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from fleet.management.benches import ground
from fleet.management.quickstart.processes import Processes
from pki.kernel import handover
from tests import database
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_listeners
from tests.factories.story import eventually
from tests.regressions import regression

#: all that a server may be started with, and secrets that it has no use for
NAMES = (
    "FLEET_VAULT_PASSPHRASE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN", "FLEET_PKCS11_PIN", "SMTP_PASSWORD", "SOME_API_KEY", "OTHER_DATABASE_URL",
)  # fmt: skip
SERVERS = ("signer", "worker", "device-door-1", "coap-door", "status-door", "operator-door")


#: a process or a descriptor that has gone since it was listed
GONE = (FileNotFoundError, ProcessLookupError)


def descendants(pid):
    """Return the process and all that it started, directly or not."""
    children = []
    with suppress(*GONE):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in descendants(int(child)))]


def open_files(pid):
    """Return what the descriptors of a process lead to; others come and go meanwhile."""
    links = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(*GONE):
            links.append(str(one.readlink()))
    return links


def holders(pids):
    """Return the names of the processes that have each kind of secret open."""
    links = {name: open_files(pid) for name, pid in pids.items()}
    return {
        kind: {name for name, files in links.items() if any(f"/memfd:muster-{kind}" in one for one in files)}
        for kind in handover.KINDS
    }


def ready(folder):
    """Return what a server writes about itself when all its processes run."""
    record = folder / "run" / "serve.json"
    found = json.loads(record.read_text()) if record.is_file() else {"pids": {}}
    return found if set(SERVERS) <= set(found["pids"]) and all(found["pids"].values()) else None


#: a command by hand: what it finds by descriptor, and what the programs that it starts would find
LOOK = """
import json, os
from django.conf import settings
from ota.blobs import s3
from pki.kernel import handover
keys = s3._session().get_credentials().get_frozen_credentials()
child = {name: handover.environment_of(kinds) for name, kinds in (("none", ()), ("all", handover.KINDS))}
print("FOUND" + json.dumps({
    "environ": open("/proc/self/environ").read() + json.dumps([dict(os.environ), child]), "bucket": [*keys],
    "passwords": [one["PASSWORD"] for one in settings.DATABASES.values()], "passphrase": handover.take_passphrase(),
}))
"""


@regression("R7", "a command run by hand finds every secret of its environment by descriptor, and shows none there")
def test_a_command_by_hand_uses_secrets_without_showing_them(tmp_path):
    own = {name: secrets.token_urlsafe(24) for name in NAMES}
    address = {"DATABASE_URL": f"postgres://muster:{secrets.token_urlsafe(24)}@/muster?host=/none"}
    address["TELEMETRY_DATABASE_URL"] = "postgres://muster@/telemetry?host=/none"  # its password is PGPASSWORD
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", LOOK], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **own, **address, "FLEET_DIR": str(tmp_path)}, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.partition("FOUND")[2])
    assert [name for name, value in (own | address).items() if value in found["environ"]] == []
    assert found["passwords"] == [address["DATABASE_URL"].split(":")[2].partition("@")[0], own["PGPASSWORD"]]
    assert found["bucket"][:3] == [
        own[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    ]
    assert found["passphrase"] == own["FLEET_VAULT_PASSPHRASE"]


@pytest.mark.parametrize("name", ["FLEET_VAULT_KEY", "FLEET_PKCS11_TOKEN", "FLEET_PKCS11_PIN_FILE", "AWS_PROFILE",
                                  "FLEET_METRICS_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "MONKEY", "PATH"])  # fmt: skip
def test_modes_labels_and_files_are_no_secrets(name):
    assert handover.kind_of_secret(name) is None


@pytest.fixture
def addresses():
    """Return the addresses of two empty databases of a real PostgreSQL, with a password inside, and that password."""
    server, password = database._start(), secrets.token_urlsafe(24)
    with psycopg.connect(server.replace("/muster?", "/postgres?"), autocommit=True) as connection:
        for name in ("muster", "muster_telemetry"):
            connection.execute(f"CREATE DATABASE {name}")
    main = server.replace("postgres:@", f"postgres:{password}@")
    assert password in main
    return {"DATABASE_URL": main, "TELEMETRY_DATABASE_URL": main.replace("/muster?", "/muster_telemetry?")}, password


@pytest.fixture
def served(tmp_path, addresses):
    """Yield what a running server writes about itself, and the secrets that it was started with."""
    own = {name: secrets.token_urlsafe(24) for name in NAMES} | addresses[0]
    nowhere = {"FLEET_BLOBS": "s3://bucket", "FLEET_S3_ENDPOINT": "http://127.0.0.1:9"}
    public = {"FLEET_VAULT_KEY": "environment", "AWS_EC2_METADATA_DISABLED": "true", **nowhere}
    processes = Processes(tmp_path, {**lease_listeners(), **public, **own})
    ground.create_bench_ca(tmp_path, processes)
    processes.start("serve", "manage.py", "serve")
    try:
        found = eventually(lambda: processes.check() or ready(tmp_path), 60, "the server did not start")
        yield found, [addresses[1], *own.values()]
    finally:
        processes.running["serve"].terminate()
        processes.running["serve"].wait(60)
        processes.stop()


@regression("R7", "passphrase, database address, bucket credentials and PINs stand in no process of a running server")
def test_no_process_of_a_running_server_shows_a_secret(served):
    found, hidden = served
    pids = found["pids"] | {"parent": found["parent"]}
    everyone = set(pids) - {"signer", "status-door"}
    wanted = {"passphrase": {"parent"}, "database": {"parent"}, "bucket": everyone}  # who holds a descriptor for long
    eventually(lambda: holders(pids) == wanted, 30, f"{wanted} is expected")
    seen = descendants(found["parent"])
    assert set(pids.values()) <= set(seen)
    for pid in seen:
        try:
            shown = b"\0".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline")).decode()
        except GONE:
            assert pid not in pids.values()  # a child of a moment
            continue
        assert shown
        assert [one for one in hidden if one in shown] == [], shown
    assert b"AWS_" not in Path(f"/proc/{pids['signer']}/environ").read_bytes()
