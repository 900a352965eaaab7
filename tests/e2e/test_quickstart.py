"""``make demo HEADLESS=1``: the main job, end to end."""

import json
import subprocess
import sys

import pytest

from fleet.management.quickstart.story import cast_roles
from tests.architecture.sources import ROOT
from tests.factories.story import DEVICES, SEED

pytestmark = pytest.mark.xdist_group("story")


def test_the_story_ends_as_it_should(told):
    facts = told.summary
    assert facts["ok"], facts["wrong"]
    assert facts["devices"] == facts["enrolled"] == DEVICES
    assert facts["firmware_updated"] == DEVICES - 2
    assert (facts["refused_tampered"], facts["quarantined"], facts["released"]) == (1, 1, 1)
    assert {one["state"] for one in facts["rollouts"]} == {"finished"}


def test_the_engine_found_the_device_that_only_the_simulator_knew(told):
    assert told.summary["flagged"] == [cast_roles(DEVICES, SEED).faulty]


def test_other_seeds_pick_other_devices():
    assert len({cast_roles(DEVICES, seed).faulty for seed in range(8)}) > 3


def test_a_second_run_changes_nothing_and_ends_well(told):
    before, running = told.summary, told.process is not None
    told.stop()
    command = [sys.executable, "manage.py", "quickstart", "--headless", "--devices", str(DEVICES)]
    command += ["--seed", str(SEED), "--dir", str(told.folder), "--summary", str(told.folder / "again.json")]
    try:
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    finally:
        if running:
            told.start()
    after = json.loads((told.folder / "again.json").read_text())
    same = ("devices", "enrolled", "firmware_updated", "model_updated", "incidents", "rollouts", "flagged")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_the_ledger_of_the_story_verifies(story):
    report = json.loads(story.manage("ledger", "verify", "--json").stdout)
    assert report["ok"], report["problems"]
    assert report["entries"] > 3 * DEVICES
    assert report["heads"] > 3


def test_the_doctor_finds_nothing_to_care_about(story):
    done = story.manage("doctor", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_and_keys_are_readable_by_their_owner_only(told):
    for name in ("secrets", "keys", "offline", "journal"):
        assert (told.folder / name).stat().st_mode & 0o777 == 0o700
    for path in [*(told.folder / "secrets").iterdir(), *(told.folder / "keys").rglob("*.key")]:
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_no_log_holds_a_token_or_a_key(told):
    for path in (told.folder / "log").iterdir():
        text = path.read_bytes()
        for word in (b"met_", b"mst_", b"PRIVATE KEY"):
            assert word not in text, (path, word)


def test_a_second_server_in_the_same_folder_is_refused(story):
    command = [sys.executable, "manage.py", "quickstart", "--headless", "--dir", str(story.folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "already" in done.stderr
