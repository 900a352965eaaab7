"""Every online key is exchanged while devices go on: none of them is told anything that it does not believe."""

import json
import subprocess
import sys
import threading
import time

import pytest

from fleet.agent.errors import TransportError
from fleet.agent.trust import Trust
from fleet.management.quickstart import material
from tests.architecture.sources import ROOT
from tests.factories.story import eventually
from tests.peers.operator import Operator

pytestmark = pytest.mark.xdist_group("story")
BOARD = "rotation-node"
ALL = ("snapshot", "timestamp", "director", "ledger")


class Watcher(threading.Thread):
    """A device that refreshes its trust all the time."""

    def __init__(self, agent):
        super().__init__(daemon=True)
        self.agent, self.rounds, self.trouble, self.stopped = agent, 0, [], threading.Event()

    def run(self):
        while not self.stopped.is_set():
            try:
                Trust(self.agent.settings, self.agent.state, self.agent._server()).assignment(self.agent.public_id)
                self.rounds += 1
                time.sleep(0.05)  # a certificate that asks all the time is limited
            except TransportError:
                time.sleep(0.05)
            except Exception as error:  # what a device would refuse
                self.trouble.append(str(error))
                time.sleep(0.05)

    def end(self):
        self.stopped.set()
        self.join(20)


def root(story, folder, online, name):
    """Let two officers sign the next root on their own machine, and install it."""
    newest = max((story.folder / "tuf" / "default").glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
    request, out, offline = folder / f"{name}.json", folder / f"{name}.root.json", story.folder / "offline"
    request.write_text(json.dumps(online))
    command = [sys.executable, "-m", "fleet.officer", "tuf-next-root", "--yes", "--root", newest, "--online", request]
    command += ["--key", offline / "anna.key", "--key", offline / "bruno.key", "--out", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    story.manage("release", "root", "--root", out)


def updated(story, operator, agent, folder, version, counter):
    archive = material.fetch_archives()["uflash==1.1.0"]
    made = material.build_firmware(story.folder / "offline", folder / f"made-{version}", archive, version, counter)
    data = made.files["app.bin"].read_bytes()
    kind = {"board": BOARD, "form": "mcuboot", "name": "rotation-app", "component": "app"}
    rollout = operator.roll_out(operator.release(operator.upload(data, version, counter=counter, **kind)))
    eventually(lambda: operator.progress(rollout)["groups"].get("offered"))
    # A poll that comes within the blink of an eye after the offer may still be told "nothing".
    eventually(lambda: agent.step() and agent.components().get("app", {}).get("version") == version)
    return True


def test_rotation_without_downtime(story, tmp_path):
    operator = Operator(story, tmp_path)
    operator.board(BOARD)
    agent = story.agent("rotation-device", tmp_path / "device", BOARD)
    watcher = Watcher(story.agent("rotation-watcher", tmp_path / "watcher", "soil-probe"))
    watcher.start()
    try:
        both = json.loads(story.manage("release", "online-keys", "--next", *ALL).stdout)
        root(story, tmp_path, both, "both")
        assert updated(story, operator, agent, tmp_path, "6.0.0", 6)
        story.manage("release", "switch-keys", *ALL)
        assert updated(story, operator, agent, tmp_path, "6.1.0", 7)
        root(story, tmp_path, {name: [keys[1]] for name, keys in both.items()}, "new")
        assert updated(story, operator, agent, tmp_path, "6.2.0", 8)
    finally:
        watcher.end()
    assert watcher.trouble == []
    assert watcher.rounds > 20
    assert json.loads(story.manage("ledger", "verify", "--json").stdout)["ok"]
    assert not list((story.folder / "keys" / "default").glob("snapshot.key"))
