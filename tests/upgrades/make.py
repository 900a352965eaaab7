"""``python -m tests.upgrades.make COMMIT``: make the set-ups of an earlier version that ``test_upgrade`` begins with.

The code of that commit tells the demo in a folder of its own, once on SQLite and once on PostgreSQL; then the things
that the demo leaves out are added over its REST API (groups, twins, commands, tokens, a revocation, rollouts that wait).
"""

import argparse
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from fleet.management.quickstart.rest import Rest
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_listeners
from tests.upgrades.postgres import dump_databases, running_server

FIXTURES = ROOT / "tests" / "data" / "upgrades"
DEVICES, SEED = 20, 3
#: what must survive of FLEET_DIR; the rest is made anew or can be fetched
KEPT = ("fleet.env", "db", "journal", "keys", "offline", "secrets", "tuf", "status", "blobs")
#: the agent's own source, which speaks with the server only over the wire
AGENT = ("fleet/__init__.py", "fleet/agent", "ota/__init__.py", "pki/__init__.py", "pki/kernel", "pki/tpm")


def main():
    """Write both archives and the agent's source of one commit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory(prefix="muster-upgrade-") as scratch:
        source = Path(scratch) / "source"
        _extract(commit, source)
        target = FIXTURES / commit
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for kind in ("sqlite", "postgresql"):
            print(f"{commit} on {kind} …", flush=True)
            _make(source, Path(scratch) / kind, target / f"{kind}.tar.xz", kind)
        with tarfile.open(target / "agent.tar.xz", "w:xz") as archive:
            for name in AGENT:
                if (source / name).exists():
                    archive.add(source / name, name, filter=_plain)
    for path in sorted(target.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def _extract(commit, folder):
    data = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")


def _make(source, folder, target, kind):
    with running_server() if kind == "postgresql" else nullcontext("") as address:
        environment = _environment(folder, address)
        _manage(source, environment, "quickstart", "--headless", "--devices", DEVICES, "--seed", SEED, "--dir", folder)
        with _serving(source, environment, folder) as rest:
            _live(rest)
        if address:
            (folder / "db").mkdir(exist_ok=True)
            dump_databases(address, folder / "db")
    _archive(folder, target)


def _environment(folder, address):
    """Return an environment with ports that are free, so that no other set-up on this machine is met."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "DATABASE_"))}
    given = {**left, **lease_listeners(), "FLEET_DIR": str(folder)}
    return {**given, "DATABASE_URL": address} if address else given


def _manage(source, environment, *arguments):
    command = [sys.executable, "manage.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@contextmanager
def _serving(source, environment, folder):
    with (folder / "log" / "serve-again.log").open("ab") as log:
        command = [sys.executable, "manage.py", "serve"]
        server = subprocess.Popen(command, cwd=source, env=environment, stdout=log, stderr=log)
    anchor = folder / "offline" / "root-ca" / "root-ca.pem"
    token = (folder / "secrets" / "quickstart-token").read_text()
    rest = Rest(int(environment["FLEET_OPERATOR_PORT"]), anchor, token)
    try:
        rest.ready(60)
        yield rest
    finally:
        rest.close()
        server.terminate()
        server.wait(timeout=60)


def _live(rest):
    """Do what the demo leaves out; the devices are offline, so what is asked of them waits."""
    devices = {row["name"]: row["id"] for row in rest.all("/devices?limit=500")}
    first, second, third = sorted(devices)[:3]
    rest.post("/groups", {"name": "gateways", "query": "hardware = cam-node"})
    group = rest.post("/groups", {"name": "two"})
    rest.patch(f"/groups/{group['id']}", {"add": [first, second]}, {})
    rest.post(f"/devices/{devices[first]}/commands", {"kind": "reboot", "reason": "to see it wait", "minutes": 1440})
    rest.patch(f"/devices/{devices[second]}/twin", {"interval_s": 60}, {"If-Match": '"d0"'})
    rest.post(f"/devices/{devices[third]}/suspend")
    certificate = rest.get(f"/certificates?device={devices[third]}")["results"][0]["fingerprint"]
    rest.post(f"/certificates/{certificate}/revoke", {"reason": "keyCompromise"})
    rest.post("/enrolment-tokens", {"hardware": "vib-node", "devices": ["never-seen-1", "never-seen-2"]})
    expected = {"serial": "42", "hardware": "vib-node", "device": "expected-1", "spki_sha256": "ab" * 32}
    rest.post("/expected-devices", expected)
    newest = next(row["id"] for row in rest.get("/releases")["results"] if row["version"] == "1.2.4")
    plan = {"release": newest, "waves": [{"share": 1000}], "success_permille": 1, "error_permille": 1000}
    rest.post("/rollouts", {**plan, "name": "draft"})
    running = rest.post("/rollouts", {**plan, "name": "running"})
    rest.post(f"/rollouts/{running['id']}/start")


def _archive(folder, target):
    plan = json.loads((folder / "simulator" / "plan.json").read_text())
    for path in folder.glob("db/*.sqlite3"):
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with tarfile.open(target, "w:xz") as archive:
        for name in KEPT:
            if (folder / name).exists():
                archive.add(folder / name, name, filter=_plain)
        for name in _kept_devices(plan):
            archive.add(folder / "simulator" / name, f"devices/{name}", filter=_plain)


def _kept_devices(plan):
    """Return the device that was refused its update, the one that was sent back, and one that runs everything."""
    targeted = next(row["name"] for row in plan["devices"] if row["mirror"])
    faulty = plan["fault"]["device"]
    usual = next(
        row["name"]
        for row in plan["devices"]
        if row["name"] not in {targeted, faulty} and row["hardware"] == plan["devices"][0]["hardware"]
    )
    return targeted, faulty, usual


def _plain(member):
    """Keep no owner, and leave out what is no file: sockets of a server that has ended, compiled modules."""
    if not (member.isfile() or member.isdir() or member.issym()) or "__pycache__" in member.name:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
