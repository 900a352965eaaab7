"""The whole-server drill: a thief has everything but the officers' keys; no device installs anything of theirs, none is lost."""

import hashlib
import json
import sqlite3
import uuid
from datetime import timedelta

import cbor2
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet.agent import config
from fleet.management.quickstart import material
from fleet.officer import authority, keys
from fleet.officer import metadata as officer
from pki.kernel import clock
from tests.attacks.thief import Thief
from tests.e2e.test_rotation import ALL, root
from tests.factories.story import eventually, identity
from tests.fleet.agent.adversary import _stamp, bundle, image, path_of, row
from tests.peers.operator import Operator
from tests.peers.pki import signing_ca
from tests.peers.programs import require
from tests.peers.swupdate import INSTALLED, OUTCOMES, Swupdate, make_swu
from tests.regressions import regression

pytestmark = pytest.mark.xdist_group("story")
BOARD, MANY = "drill-node", 4
EVIL = image(b"evil" * 2000)


class Drill:
    """Some devices of one fleet, before, during and after the theft."""

    def __init__(self, story, folder):
        self.story, self.folder = story, folder
        self.operator = Operator(story, folder)
        self.board = self.operator.board(BOARD)
        self.agents = [story.agent(f"drill-{number}", folder / f"device-{number}", BOARD) for number in range(MANY)]

    def release(self, version, counter):
        """Release firmware to all, as the owners do, and roll it out."""
        archive = material.fetch_archives()["uflash==1.1.0"]
        made = material.build_firmware(
            self.story.folder / "offline", self.folder / f"made-{version}", archive, version, counter
        )
        data = made.files["app.bin"].read_bytes()
        kind = {"board": BOARD, "form": "mcuboot", "name": "drill-app", "component": "app"}
        rollout = self.operator.roll_out(
            self.operator.release(self.operator.upload(data, version, counter=counter, **kind))
        )
        eventually(lambda: self.operator.progress(rollout)["groups"].get("offered"))
        for one in self.agents:  # the listener hears of it a moment after the database; the steps below are counted
            eventually(lambda one=one: one._poll().update is not None)
        return hashlib.sha256(data).hexdigest()

    def running(self):
        return {hashlib.sha256(one.slots("app").read_running()).hexdigest() for one in self.agents}

    def steps(self, thief=None):
        """Let each device take one step."""
        for one in self.agents:
            one.state.put(refused_action=None, looked_at=0)
            if thief:
                thief.victim = one.public_id
            one.step()

    def evil(self, **changes):
        """Return a bundle.json of the thief's own making, for this hardware."""
        hw = [{name: self.board[name] for name in ("vendor_id", "class_id", "name")}]
        return bundle(EVIL, **{"id": "drill-app", "version": "66.6.6", "security_counter": 6666, "hw": hw, **changes})

    def assign(self, made, **changes):
        return [row(made, action=90_000, hw=self.board["class_id"], **changes)]


def tricks(thief, drill, folder):
    """Yield the name of each trick when it has been set up."""
    evil = drill.evil()
    thief.routes[f"/v1/blob/{hashlib.sha256(EVIL).hexdigest()}"] = EVIL
    thief.say(update=90_000)
    thief.rows = drill.assign(evil)
    yield "an image that nobody listed"
    thief.changes = {"x-muster-floors": {"app": {drill.board["class_id"]: 2**31 - 1}}}
    thief.rows = []
    yield "a floor of the director's own"
    thief.changes = {}
    evil_orders = {"time_sources": ["ntp.evil.example"], "policy_keys": ["00" * 32], "secrets": {"wifi": "ZXZpbA=="}}
    wish = {"server": "https://evil.example", "tuf_root": "evil", **evil_orders}
    thief.routes["/v1/twin"] = cbor2.dumps({"config": wish, "version": 99, "components": {}})
    thief.say(twin=99)
    yield "address, clock source and policy key by the twin"
    thief.say(renew=True)
    names = [x509.UniformResourceIdentifier("urn:uuid:0190b5a0-0000-7000-8000-0000000000ff")]
    public, life = drill.agents[0]._key.public, timedelta(minutes=2)
    thief.est(thief.issue(public, names, ExtendedKeyUsageOID.CLIENT_AUTH, life), [thief.ca])
    yield "certificates that are over soon, or another's"
    thief.say(next=10**9)
    yield "a poll in thirty years"
    thief.say(update=90_000)
    thief.rows = drill.assign(evil)
    thief.lists(evil, EVIL)
    thief.publish()
    yield "bins signed by the stolen keys"
    root = drill.story.anchor.read_text()
    configurations = {
        "anchors": {"anchors": [authority.make_root_ca(folder / "evil", "E").read_text()]},
        "another address": {"anchors": [root], "server": "https://127.0.0.1:1"},
        "policy keys, time sources and secrets": {"anchors": [root], **evil_orders},
    }
    for number, (name, content) in enumerate(configurations.items()):
        made = configured(thief, drill, f"9.0.{number}", content)
        thief.rows = drill.assign(made)
        yield f"{name} by a configuration that no officer signed"
    orders = [
        {"id": str(uuid.UUID(int=number)), "kind": kind, "expires": "2999-01-01T00:00:00Z"}
        for number, kind in enumerate(("set-server", "set-anchors", "set-policy-key", "set-time-source", "wipe"), 1)
    ]
    for one in orders:
        thief.routes[f"/v1/command/{one['id']}"] = thief.answers
    thief.rows, thief.changes = [], {"commands": orders}
    thief.say(command=True)
    yield "orders by command"
    thief.changes = {}
    thief.say(update=90_000)
    thief.rows = drill.assign(made)
    thief.publish(2**31)
    yield "versions far in the future"
    far = clock.now().replace(microsecond=0) + timedelta(days=70_000)
    thief.changes = {"issued": _stamp(far), "version": 2**60, "expires": _stamp(far + timedelta(days=1))}
    yield "a clock in the twenty-third century"
    far = clock.now().replace(microsecond=0) + timedelta(days=200)  # what the officers' root lets a device believe
    number = int(far.timestamp()) + 3000
    thief.publish(2**31, far)
    thief.changes = {"issued": _stamp(far), "version": number, "expires": _stamp(far + timedelta(minutes=30))}
    yield "a clock of the next half-year"
    thief.publish(2**31 + 1000)
    thief.changes = {}
    yield "and what it said is remembered"


def configured(thief, drill, version, content):
    """Return a configuration of the thief's own making, listed by the stolen keys."""
    text = json.dumps({"schema": 1, "version": version, **content})
    digest = hashlib.sha256(text.encode()).hexdigest()
    files = [{"path": "config.json", "size": len(text), "sha256": digest, "role": "image"}]
    kind = {"component": "config", "kind": "config", "format": "config"}
    made = drill.evil(id="trust-anchors", version=version, files=files, **kind)
    thief.lists(made, text.encode())
    thief.publish()
    return made


def home(agent):
    """Return what a device believes: address, roots, first TUF root, and what only officers set."""
    kept = agent.settings.folder / config.KEPT
    orders = kept.read_bytes() if kept.exists() else b""
    return config.effective_settings(agent.settings), agent.anchors(), agent.settings.tuf_root.read_bytes(), orders


def test_the_whole_server_is_stolen(story, tmp_path):
    drill = Drill(story, tmp_path)
    first = drill.release("7.0.0", 70)
    drill.steps()
    assert drill.running() == {first}
    homes = [home(one) for one in drill.agents]
    story.stop()
    thief = Thief(story.folder, tmp_path, story.device_port)
    try:
        for trick in tricks(thief, drill, tmp_path):
            drill.steps(thief)
            assert drill.running() == {first}, trick
            assert [home(one) for one in drill.agents] == homes, trick
            assert all(one.enrolled and not one.erased for one in drill.agents), trick
        words = {one.get("reason", "") for one in thief.heard}
        for said in ("not signed by the release officers", "was signed by 0/2 keys", "in the future", "expired"):
            assert any(said in one for one in words), (said, words)
        assert {cbor2.loads(one)["state"] for one in thief.answered} == {"refused"}
        assert path_of(drill.evil())
    finally:
        thief.close()
        story.start()
    # The owners take the address back; their officers name new online keys. Nobody touches a device.
    both = json.loads(story.manage("release", "online-keys", "--next", *ALL).stdout)
    root(story, tmp_path, {name: [keys[1]] for name, keys in both.items()}, "after-the-theft")
    second = drill.release("7.1.0", 71)
    for _ in range(2):
        drill.steps()
    assert drill.running() == {second}
    assert json.loads(story.manage("ledger", "verify", "--json").stdout)["ok"]


class Fifth:
    """A device that updates by SWUpdate, its vendor, and what somebody with the whole server tries on it."""

    BOARD, NAME = "drill-swu", "drill-swu-1"

    def __init__(self, story, folder):
        self.story, self.folder = story, folder
        self.operator = Operator(story, folder)
        self.ca, *self.vendor = signing_ca(folder, "drill-vendor")
        self.operator.board(self.BOARD)
        self.operator.trust("drill-vendor-swu", self.ca.read_text())
        self.agent = story.agent(self.NAME, folder / "enrolled", self.BOARD)
        home, self.target = self.agent.settings.folder, folder / "installed.bin"
        self.device = Swupdate(
            folder / "device", self.NAME, home / "chain.pem", home / "device.key", story.anchor, self.ca
        )
        self.base = f"/DEFAULT/controller/v1/{self.NAME}"
        self.database = story.folder / "db" / "main.sqlite3"

    def image(self, version, signer):
        """Return an archive that would write its version into the target."""
        return make_swu(self.folder, version, self.target, version.encode() * 4000, signer)

    def upload(self, version):
        return self.operator.upload(self.image(version, self.vendor), version, board=self.BOARD, name="drill-rootfs")

    def release(self, made):
        rollout = self.operator.roll_out(self.operator.release(made))
        eventually(lambda: self.operator.progress(rollout)["groups"].get("offered"))

    @property
    def installed(self):
        return self.target.read_bytes()[:5].decode()

    def runs_until(self, wanted, until):
        """Let SWUpdate ask until it has come to an outcome."""
        outcome, log = self.device.run(f"https://localhost:{self.story.device_port}", 60, until=until)
        assert outcome == wanted, log[-3000:]

    def offered_by(self, thief, data):
        """Let the thief's server offer an archive by DDI, with digests that are right."""
        name, link = "image.swu", f"https://localhost:{self.story.device_port}{self.base}"
        href = {"href": f"{link}/softwaremodules/1/artifacts/{name}"}
        digests = {kind: hashlib.new(kind, data).hexdigest() for kind in ("sha1", "md5", "sha256")}
        artifact = {"filename": name, "hashes": digests, "size": len(data), "_links": {"download": href}}
        chunk = {"part": "os", "version": "6.6.6", "name": "evil", "artifacts": [artifact]}
        deployment = {"download": "forced", "update": "forced", "chunks": [chunk]}
        poll = {
            "config": {"polling": {"sleep": "00:00:02"}},
            "_links": {"deploymentBase": {"href": f"{link}/deploymentBase/9?c=1"}},
        }
        thief.routes[self.base] = json.dumps(poll).encode()
        thief.routes[f"{self.base}/deploymentBase/9?c=1"] = json.dumps({"id": "9", "deployment": deployment}).encode()
        thief.routes[f"{self.base}/deploymentBase/9/feedback"] = thief.routes[f"{self.base}/configData"] = b""
        thief.routes[f"{self.base}/softwaremodules/1/artifacts/{name}"] = data

    def rows(self, made):
        """Let every row say that a bundle was released to the device, while the server is stopped; return what undoes it."""
        with sqlite3.connect(self.database) as database:
            one = database.execute
            key, manifest = one(
                "SELECT id, manifest FROM ota_bundle WHERE public_id = ?", (uuid.UUID(made["id"]).hex,)
            ).fetchone()
            old = one(
                "SELECT a.id, a.status, a.closed_at, a.bundle_id, a.rollout_id FROM ota_assignment a "
                "JOIN devices_device d ON d.id = a.device_id WHERE d.name = ? ORDER BY a.id DESC", (self.NAME,)
            ).fetchone()  # fmt: skip
            state = one("SELECT state FROM ota_rollout WHERE id = ?", old[4:]).fetchone()
            one(
                "UPDATE ota_assignment SET status = 'scheduled', closed_at = NULL, bundle_id = ? WHERE id = ?",
                (key, old[0]),
            )
            one("UPDATE ota_rollout SET state = 'running' WHERE id = ?", old[4:])
            one(
                "UPDATE ota_release SET state = 'published', published_at = '2026-01-01 00:00:00' WHERE bundle_id = ?",
                (key,),
            )
            one(
                "UPDATE ota_statement SET state = 'published' WHERE release_id = (SELECT id FROM ota_release WHERE bundle_id = ?)",
                (key,),
            )
        self.undo = [
            (
                "UPDATE ota_assignment SET status = 'finished', closed_at = '2026-01-01 00:00:00', bundle_id = ? WHERE id = ?",
                (old[3], old[0]),
            ),
            ("UPDATE ota_rollout SET state = ? WHERE id = ?", (*state, old[4])),
            ("UPDATE ota_release SET state = 'prepared', published_at = NULL WHERE bundle_id = ?", (key,)),
            (
                "UPDATE ota_statement SET state = 'stale' WHERE release_id = (SELECT id FROM ota_release WHERE bundle_id = ?)",
                (key,),
            ),
        ]
        return key, json.loads(manifest)

    def restore(self, planted):
        """Take rows and files back."""
        with sqlite3.connect(self.database) as database:
            for statement, values in self.undo:
                database.execute(statement, values)
        for path in planted:
            path.unlink()

    def plants(self, thief, manifest):
        """Put a bin and a root into the server's folder that stolen online keys and strangers have signed."""
        tuf, people = self.story.folder / "tuf" / "default", ("eve", "mallory", "oscar")
        for name in people:
            keys.generate_key(self.folder, name)
        thief.lists(manifest, b"")
        role = next(role for role, one in thief.bins.items() if path_of(manifest) in one.signed.targets)
        listed = tuf / f"{thief.bins[role].signed.version}.{role}.json"
        listed.write_bytes(thief.bins[role].to_bytes())
        present = (tuf / f"{thief.root.version}.root.json").read_bytes()
        theirs = [self.folder / f"{name}.key" for name in people[:2]]
        root = officer.next_root(present, {}, theirs, [self.folder / f"{name}.pub.json" for name in people])
        own = tuf / f"{thief.root.version + 1}.root.json"
        own.write_bytes(root)
        return [listed, own]


@pytest.mark.peer
@regression("R1", "the whole server is stolen: a real SWUpdate as the fifth device of the drill")
def test_the_whole_server_is_stolen_and_a_device_updates_by_swupdate(story, tmp_path):
    require("swupdate")
    require("openssl")
    fifth = Fifth(story, tmp_path)
    fifth.release(fifth.upload("1.0.0"))
    fifth.runs_until("installed", INSTALLED)
    assert fifth.installed == "1.0.0"
    second = fifth.upload("2.0.0")
    fifth.operator.rest.post("/releases", {"bundle": second["id"]})
    story.stop()
    thief = Thief(story.folder, tmp_path, story.device_port)
    try:
        # The thief's own server: what the vendor did not sign is refused by SWUpdate itself.
        _, *strangers = signing_ca(tmp_path, "stranger")
        fifth.offered_by(thief, fifth.image("6.6.6", strangers))
        fifth.runs_until("badsig", dict(OUTCOMES)["badsig"])
        assert fifth.installed == "1.0.0"
    finally:
        thief.close()
    # The server's own code over the thief's rows and documents: nothing, although the vendor has signed the archive.
    key, manifest = fifth.rows(second)
    planted = fifth.plants(thief, manifest)
    try:
        story.start()
        fifth.runs_until("idle", r"(No pending action(?s:.)*){3}")  # it has asked three times
        own = identity(fifth.agent)
        for path in (
            f"{fifth.base}/softwaremodules/{key}/artifacts/image.swu",
            f"/v1/blob/{manifest['files'][0]['sha256']}",
        ):
            assert story.call("GET", path, identity=own)[0] == 404, path
        assert fifth.installed == "1.0.0"
    finally:
        story.stop()
        fifth.restore(planted)
        story.start()
    # The same archive, once officers have released it.
    fifth.release(second)
    fifth.runs_until("installed", INSTALLED)
    assert fifth.installed == "2.0.0"
