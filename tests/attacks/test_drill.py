"""The whole-server drill: a thief has everything but the officers' keys; no device installs anything of theirs, none is lost."""

import hashlib
import json
import uuid
from datetime import timedelta

import cbor2
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet.agent import config
from fleet.management.quickstart import material
from fleet.officer import authority
from pki.kernel import clock
from tests.attacks.thief import Thief
from tests.e2e.test_rotation import ALL, root
from tests.factories.story import eventually
from tests.fleet.agent.adversary import _stamp, bundle, image, path_of, row
from tests.peers.operator import Operator

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
        archive = material.fetch()["uflash==1.1.0"]
        made = material.firmware(
            self.story.folder / "offline", self.folder / f"made-{version}", archive, version, counter
        )
        data = made.files["app.bin"].read_bytes()
        kind = {"board": BOARD, "form": "mcuboot", "name": "drill-app", "component": "app"}
        rollout = self.operator.roll_out(
            self.operator.release(self.operator.upload(data, version, counter=counter, **kind))
        )
        eventually(lambda: self.operator.progress(rollout)["groups"].get("offered"))
        for one in self.agents:  # the door hears of it a moment after the database; the steps below are counted
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
        "anchors": {"anchors": [authority.make_root(folder / "evil", "E").read_text()]},
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
    return config.effective(agent.settings), agent.anchors(), agent.settings.tuf_root.read_bytes(), orders


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
        for said in ("never signed by the release officers", "was signed by 0/2 keys", "expired"):
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
