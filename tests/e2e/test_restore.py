"""A restored database takes nothing back that others have seen."""

import json
import re
import sqlite3
from contextlib import closing

import pytest

from fleet.agent.errors import AnswerError, TransportError
from fleet.management.quickstart import material
from tests.factories.story import eventually
from tests.peers.operator import Operator
from tests.peers.pki import signing_ca
from tests.peers.programs import require
from tests.peers.swupdate import Swupdate

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
BOARD = "restore-node"


class Fleet:
    """Two agents, a third one that enrols late, one SWUpdate, an operator."""

    def __init__(self, story, folder):
        self.story, self.folder = story, folder
        self.operator = Operator(story, folder)
        self.operator.board(BOARD)
        self.keeper = story.agent("restore-keeper", folder / "keeper", BOARD)
        self.revoked = story.agent("restore-revoked", folder / "revoked", BOARD)
        other = story.agent("restore-swu", folder / "swu", "soil-probe")
        home = other.settings.folder
        ca, *_ = signing_ca(folder, "restore")
        self.swupdate = Swupdate(folder / "d", "restore-swu", home / "chain.pem", home / "device.key", story.anchor, ca)

    def roll_out(self, version, counter):
        folder = self.folder / f"made-{version}"
        archive = material.fetch_archives()["uflash==1.1.0"]
        made = material.build_firmware(self.story.folder / "offline", folder, archive, version, counter)
        data = made.files["app.bin"].read_bytes()
        bundle = self.operator.upload(
            data, version, board=BOARD, form="mcuboot", name="keeper-app", component="app", counter=counter
        )
        rollout = self.operator.roll_out(self.operator.release(bundle), f"keeper-{version}")
        eventually(lambda: self.operator.progress(rollout)["groups"].get("offered"))
        eventually(lambda: self.keeper._poll().update is not None)  # the listener hears of it after the database
        self.keeper.step()
        return rollout

    def runs(self, version):
        return self.keeper.components()["app"]["version"] == version


def test_backup_rollout_revocation_token_restore(story, tmp_path):
    require("swupdate")
    fleet = Fleet(story, tmp_path)
    backup = tmp_path / "backup.tar"
    story.manage("backup", backup)

    fleet.roll_out("5.0.0", 5)
    assert fleet.runs("5.0.0")
    key = story.device("restore-revoked")["id"]
    fingerprint = story.rest.get(f"/certificates?device={key}")["results"][0]["fingerprint"]
    story.rest.post(f"/certificates/{fingerprint}/revoke", {"reason": "keyCompromise"})
    secret = story.token("restore-late", BOARD)
    late = story.agent("restore-late", tmp_path / "late", BOARD, token=secret)
    eventually(lambda: not _waiting(story))

    story.stop()
    try:
        _restored(story, backup)
    finally:
        story.start()

    assert fleet.keeper.step() > 0
    assert late.step() > 0
    with pytest.raises(AnswerError, match="revoked"):
        fleet.revoked._server().call(
            "POST", "/v1/time", b'{"nonce":"' + b"00" * 16 + b'"}', {"Content-Type": "application/json"}
        )
    with pytest.raises((AnswerError, TransportError)):
        story.agent("restore-thief", tmp_path / "thief", BOARD, token=secret)
    fleet.roll_out("6.0.0", 6)
    assert fleet.runs("6.0.0")
    outcome, log = fleet.swupdate.run(story.server, 6)
    assert outcome == "idle", log[-2000:]
    report = json.loads(story.manage("ledger", "verify", "--json").stdout)
    assert report["ok"], report["problems"]


def _waiting(story):
    """Say whether ledger entries wait for their place."""
    head = story.rest.get("/ledger/head")
    newest = story.rest.get("/ledger?limit=1&count=true")
    return head["size"] < newest["count"]


def _restored(story, backup):
    """Restore, see that the server refuses to start on what is old, and resume."""
    assert "older than the journal" in story.manage("restore", backup).stdout
    refused = story.manage("serve", check=False)
    assert refused.returncode != 0
    assert "restore --resume" in refused.stderr
    resumed = json.loads(re.search(r"\{.*\}", story.manage("restore", "--resume", "--json").stdout)[0])
    assert resumed["applied"]["revoked"] == 1
    assert resumed["applied"]["enrolled"] >= 1
    with closing(sqlite3.connect(story.folder / "db" / "main.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM jobs_lease").fetchone() == (0,)  # their holders are gone
