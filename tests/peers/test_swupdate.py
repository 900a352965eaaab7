"""An unchanged SWUpdate over mutual TLS with a certificate that our CA issued."""

import json
import os
import re

import pytest

from tests.factories.story import eventually, identity
from tests.peers.cutter import Cutter
from tests.peers.operator import BOARD, Operator
from tests.peers.pki import signing_ca
from tests.peers.programs import require
from tests.peers.swupdate import INSTALLED, Swupdate, make_swu

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]


class Bench:
    """One device, its signing CA, a stranger's one, and an operator."""

    def __init__(self, story, folder, prefix="swu"):
        self.story, self.folder = story, folder
        self.name, self.board = f"{prefix}-1", f"{prefix}-board"
        self.operator = Operator(story, folder)
        self.operator.board(self.board)
        self.ca, *self.signer = signing_ca(folder, "acme")
        self.stranger_ca, *self.stranger = signing_ca(folder, "stranger")
        self.operator.trust(f"acme-{prefix}", self.ca.read_text())
        # The server knows both; the device believes the first one only.
        self.operator.trust(f"stranger-{prefix}", self.stranger_ca.read_text())
        agent = story.agent(self.name, folder / "enrolled", self.board)
        home, self.identity = agent.settings.folder, identity(agent)
        self.target = folder / "installed.bin"
        self.device = Swupdate(
            folder / "device", self.name, home / "chain.pem", home / "device.key", story.anchor, self.ca
        )

    def image(self, version, signer, size=64 * 1024):
        payload = os.urandom(size)
        return make_swu(self.folder, version, self.target, payload, signer), payload

    def offer(self, version, signer, size=64 * 1024):
        data, payload = self.image(version, signer, size)
        release = self.operator.release(self.operator.upload(data, version))
        rollout = self.operator.roll_out(release, f"swu-{version}")
        eventually(lambda: self.operator.progress(rollout)["groups"].get("offered"))
        return rollout, payload

    def groups(self, rollout):
        """Return how many devices of a rollout are how far."""
        return self.operator.progress(rollout)["groups"]

    def confirm(self, rollout, version):
        """Start the device as after a reboot that went well; return the outcome and the log."""
        done = {"finished": 1}
        return self.device.run(self.url(), 60, "-c", "2", version=version, until=lambda: self.groups(rollout) == done)

    def url(self, port=None):
        return f"https://localhost:{port or self.story.device_port}"


@pytest.fixture(scope="module")
def bench(story, tmp_path_factory):
    require("swupdate")
    require("openssl")
    return Bench(story, tmp_path_factory.mktemp("swupdate"))


def test_it_registers_installs_and_is_finished_only_after_its_confirmation(bench):
    rollout, payload = bench.offer("1.0.0", bench.signer)
    outcome, log = bench.device.run(bench.url(), 60, until=INSTALLED)
    assert outcome == "installed", log[-3000:]
    assert bench.target.read_bytes() == payload
    assert bench.groups(rollout) == {"installing": 1}
    assert bench.story.device("swu-1")["reported"]["attributes"]["hw_revision"] == "1.0"
    outcome, log = bench.confirm(rollout, "1.0.0")
    assert outcome == "confirmed", log[-3000:]
    assert bench.groups(rollout) == {"finished": 1}


def test_a_bundle_by_a_stranger_to_the_device_is_refused_by_it_and_shown_with_its_reason(bench):
    before = bench.target.read_bytes() if bench.target.exists() else None
    rollout, _ = bench.offer("2.0.0", bench.stranger)
    outcome, log = bench.device.run(bench.url(), 60, until=lambda: bench.operator.progress(rollout)["failures"])
    assert outcome == "badsig", log[-3000:]
    assert (bench.target.read_bytes() if bench.target.exists() else None) == before
    failures = bench.operator.progress(rollout)["failures"]
    assert [one["devices"] for one in failures] == [1]
    # SWUpdate's own last word; the lines before it stand in the assignment's log.
    # Its last word varies; when it stops reading early, that is what it says last.
    last = "signature|Authentication|No suitable .swu image|Compatible SW not found|Writing into SWUpdate IPC stream"
    assert re.search(last, failures[0]["cause"])
    said = bench.story.rest.get("/assignments?device=swu-1&limit=1")["results"][0]
    assert said["status"] == "error"
    assert failures[0]["cause"] in said["messages"]


def test_a_bundle_by_a_signer_whom_nobody_knows_is_refused_at_upload(bench, tmp_path):
    _, *nobody = signing_ca(tmp_path, "nobody")
    data, _ = bench.image("9.0.0", nobody)
    with pytest.raises(Exception, match="not signed under a registered"):
        bench.operator.upload(data, "9.0.0")


def test_a_cut_download_is_resumed_with_206(bench):
    rollout, payload = bench.offer("3.0.0", bench.signer, size=3 << 20)
    cutter = Cutter(bench.story.device_port, after=1 << 20)
    try:
        outcome, log = bench.device.run(bench.url(cutter.port), 60, until=INSTALLED)
    finally:
        cutter.close()
    assert cutter.cuts == 1
    assert outcome == "installed", log[-3000:]
    assert bench.target.read_bytes() == payload
    lines = (bench.story.folder / "log" / "serve-again.log").read_text().splitlines()
    answers = [json.loads(line) for line in lines if '"answered"' in line and "/artifacts/" in line]
    assert 206 in {one["status"] for one in answers}
    outcome, _ = bench.confirm(rollout, "3.0.0")
    assert outcome == "confirmed"
    assert bench.groups(rollout) == {"finished": 1}


def test_another_device_is_denied_on_this_controller(bench, tmp_path):
    stranger = bench.story.agent("swu-2", tmp_path / "enrolled", BOARD)
    home = stranger.settings.folder
    device = Swupdate(tmp_path / "d", "swu-1", home / "chain.pem", home / "device.key", bench.story.anchor, bench.ca)
    outcome, log = device.run(bench.url(), 30, until="HTTP error code")
    assert outcome == "denied", log[-2000:]
