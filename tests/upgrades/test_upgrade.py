"""A set-up of an earlier version is brought up to date: no row is lost, and its devices install what is released next."""

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from tuf.api.metadata import Metadata, Timestamp

from devices.tick_values import unpack_ticks
from devices.twin_documents import trusted_root_marks
from fleet.management.quickstart import material
from pki.kernel import clock
from tests.architecture.sources import ROOT
from tests.factories.ports import lease_listeners
from tests.factories.story import Story, eventually
from tests.peers.operator import Operator
from tests.regressions import regression
from tests.upgrades.make import FIXTURES
from tests.upgrades.postgres import DATABASES, load_databases, running_server
from tests.upgrades.rows import lost_rows, rows_of_postgresql, rows_of_sqlite

pytestmark = pytest.mark.xdist_group("upgrades")

#: what the job does in each domain
PACK = """
from devices.services import tick_packing
from pki.models import TrustDomain
for domain in TrustDomain.objects.all():
    tick_packing.pack_past_days(domain=domain)
"""
COMMITS = sorted(path.name for path in FIXTURES.iterdir())
#: (table, column) to the reason why a migration changes it; (table, "") when a table goes
MOVED: dict[tuple[str, str], str] = {
    ("devices_sourcenetwork", ""): "moved from the main to the telemetry database, tested below",
}


@dataclass
class OldSetUp(Story):
    """An unpacked set-up of an earlier version, served by the present code.

    Args:
        address: its PostgreSQL, or nothing for SQLite.
        commit: the version.
    """

    summary: dict = field(default_factory=dict)
    seconds: float = 0
    address: str = ""
    commit: str = ""

    @property
    def environment(self):
        """Return the environment of every process of this set-up."""
        left = {name: value for name, value in os.environ.items() if not name.startswith(("FLEET_", "DATABASE_"))}
        given = {**left, "FLEET_DIR": str(self.folder), "FLEET_DEVICE_WORKERS": "1"}
        return {**given, "DATABASE_URL": self.address} if self.address else given

    def manage(self, *arguments, check=True):
        """Run a command of the present code."""
        command = [sys.executable, "manage.py", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert not (check and done.returncode), (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def start(self):
        """Serve it."""
        with (self.folder / "serve.log").open("ab") as log:
            command = [sys.executable, "manage.py", "serve"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self.rest.ready(60)

    def rows(self):
        """Return every row of both databases."""
        if not self.address:
            return rows_of_sqlite(self.folder)
        names = dict(zip(("main", "telemetry"), DATABASES, strict=True))
        return rows_of_postgresql(
            {name: self.address.replace(f"/{DATABASES[0]}?", f"/{own}?") for name, own in names.items()}
        )


@pytest.fixture(scope="module", params=[(commit, kind) for commit in COMMITS for kind in ("sqlite", "postgresql")])
def old(request, tmp_path_factory):
    commit, kind = request.param
    folder = tmp_path_factory.mktemp(f"{commit}-{kind}")
    with tarfile.open(FIXTURES / commit / f"{kind}.tar.xz") as archive:
        archive.extractall(folder, filter="tar")
    with tarfile.open(FIXTURES / commit / "agent.tar.xz") as archive:
        archive.extractall(folder / "agent-source", filter="data")
    _refuse_expired(folder, commit)
    ports = "".join(f"{name}={port}\n" for name, port in lease_listeners().items())
    settings = (folder / "fleet.env").read_text().splitlines(keepends=True)
    (folder / "fleet.env").write_text("".join(line for line in settings if "_PORT=" not in line) + ports)
    with ExitStack() as stack:
        address = stack.enter_context(running_server()) if kind == "postgresql" else ""
        if address:
            load_databases(address, folder / "db")
        found = OldSetUp(folder, address=address, commit=commit)
        stack.callback(found.close)
        yield found


def _refuse_expired(folder, commit):
    chain = next((folder / "devices").glob("*/chain.pem")).read_bytes()
    end = x509.load_pem_x509_certificate(chain).not_valid_after_utc
    assert end.timestamp() > clock.unix(), f"The fixture has expired: run python -m tests.upgrades.make {commit}"


@regression("U", "rows of both databases of an earlier version")
def test_no_row_is_lost(old):
    before = old.rows()
    assert sum(map(len, before.values())) > 500
    old.manage("upgrade")
    assert lost_rows(before, old.rows(), MOVED) == []
    assert _networks(before, "main") == _networks(old.rows(), "telemetry")
    _assert_presence_is_filled(old.rows())
    _assert_trusted_roots_are_filled(old.rows())
    old.manage("upgrade")  # a second time changes nothing
    assert lost_rows(before, old.rows(), MOVED) == []
    assert _networks(before, "main") == _networks(old.rows(), "telemetry")


@regression("U", "values of past ticks, which are packed after the upgrade")
def test_packing_keeps_every_value_of_an_earlier_version(old):
    old.manage("upgrade")
    before = _samples(old.rows())
    assert before
    old.manage("shell", "-c", PACK)
    after = old.rows()
    assert not after["telemetry", "devices_sample"]
    assert _samples(after) == before


def _samples(rows):
    """Return every value by device, tick and metric, from rows and from packed days."""
    found = {
        (row["device_id"], row["tick"], row["metric"]): row["value"]
        for row in rows["telemetry", "devices_sample"].values()
    }
    for row in rows["telemetry", "devices_sampleday"].values():
        for tick, value in unpack_ticks(row["start"], bytes(row["values"])).items():
            found[row["device_id"], tick, row["metric"]] = value
    return found


def _assert_presence_is_filled(rows):
    """Each device has the word of its last contact, which was long ago, and the counts say the same."""
    heard = {row["device_id"] for row in rows["telemetry", "devices_presence"].values()}
    devices = rows["main", "devices_device"].values()
    for one in devices:
        expected = "overdue" if one["id"] in heard else "never"
        assert one["presence"] == ("" if one["state"] == "retired" else expected)
    real = Counter(one["presence"] for one in devices if one["presence"])
    real["quarantined"] = sum(one["quarantined_at"] is not None for one in devices)
    real["open_incidents"] = sum(one["state"] == "open" for one in rows["main", "devices_incident"].values())
    kept = Counter()
    for row in rows["main", "devices_fleetcount"].values():
        kept[row["kind"]] += row["delta"]
    assert heard
    assert +kept == +real


def _assert_trusted_roots_are_filled(rows):
    """Each device has the roots of its last report, and one that never reported has none."""
    kept = {one["id"]: one["trusted_roots"] for one in rows["main", "devices_device"].values()}
    reported = [(one["device_id"], one["reported"]) for one in rows["main", "devices_twin"].values()]
    told = {device: json.loads(text) if isinstance(text, str) else text for device, text in reported}
    assert any("anchors" in one for one in told.values())
    assert kept == {
        device: trusted_root_marks(one["anchors"]) if "anchors" in one else None for device, one in told.items()
    }


def _networks(rows, database):
    """Return the networks that devices were heard from; they get new keys where they move to."""
    found = rows[database, "devices_sourcenetwork"].values()
    assert found
    return sorted((row["device_id"], row["prefix"], str(row["first_seen"]), row["last_tick"]) for row in found)


@regression("U", "the audit log, and agents of an earlier version at a new server")
def test_the_log_verifies_and_old_agents_install_what_is_released_next(old):
    old.start()
    operator = Operator(old, old.folder)
    # The timestamp of the fixture has expired: devices would refuse what they are offered before it is signed anew.
    eventually(lambda: _timestamp_ends(old) > clock.now())
    released = {row["version"]: row for row in old.rest.get("/releases")["results"]}
    assert {row["state"] for row in released.values()} == {"published"}
    waiting = [path for path in sorted((old.folder / "devices").iterdir()) if _runs(old, path.name, "1.1.0")]
    assert len(waiting) == 2
    for disk in waiting:  # the rollout that was under way before the upgrade reaches them
        _steps_until(old, disk, "1.2.4")

    bundle = operator.upload(
        _next_image(old), "1.3.0", board="vib-node", form="mcuboot", name="micropython", component="app", counter=3
    )
    operator.roll_out(operator.release(bundle), "after the upgrade")
    boards = [path for path in sorted((old.folder / "devices").iterdir()) if path.name.startswith("vib-node")]
    for disk in boards:
        _steps_until(old, disk, "1.3.0")
    report = json.loads(old.manage("ledger", "verify", "--json").stdout)
    assert report["ok"], report["problems"]
    old.stop()


def _timestamp_ends(old):
    text = (old.folder / "tuf" / "default" / "timestamp.json").read_bytes()
    return Metadata[Timestamp].from_bytes(text).signed.expires


def _next_image(old):
    archive = material.fetch_archives()["uflash==1.2.4"]
    made = material.build_firmware(old.folder / "offline", old.folder / "made", archive, "1.3.0", 3)
    return made.files["app.bin"].read_bytes()


def _runs(old, name, version):
    return old.device(name)["reported"]["components"]["app"]["version"] == version


def _steps_until(old, disk, version):
    """Let the agent of the earlier version poll until the server knows that it runs a version."""
    models = {row["name"]: row["class_id"] for row in old.rest.get("/hardware-models")["results"]}
    command = [sys.executable, "-m", "fleet.agent", "--once", "--dir", disk, "--server", old.server]
    command += ["--anchor", old.anchor, "--tuf-root", old.folder / "offline" / "root.json", "--name", disk.name]
    command += ["--hw-class", models[disk.name.rsplit("-", 1)[0]]]
    said = []

    def step():
        done = subprocess.run(
            command, cwd=old.folder / "agent-source", env=old.environment, capture_output=True, text=True, check=False
        )
        said.append(done.stderr)
        return _runs(old, disk.name, version)

    eventually(step, trouble=said)


def test_the_fixture_is_complete():
    for commit in COMMITS:
        assert {path.name for path in (FIXTURES / commit).iterdir()} >= {
            "agent.tar.xz",
            "postgresql.tar.xz",
            "sqlite.tar.xz",
        }
