"""``kill -9`` in the middle of the story, and the same command again: it goes on, and nothing is doubled or lost."""

import json
import os
import signal
import subprocess
import sys
import time

from tests.architecture.sources import ROOT

DEVICES, SEED = 20, 3


def quickstart(folder, summary):
    """Start the story in a folder."""
    environment = {name: value for name, value in os.environ.items() if name not in {"FLEET_DIR", "DATABASE_URL"}}
    base = 10_000 + os.getpid() * 8 % 9_000
    environment |= {
        "FLEET_OPERATOR_PORT": str(base),
        "FLEET_DEVICE_PORT": str(base + 1),
        "FLEET_STATUS_PORT": str(base + 2),
        "FLEET_COAP_PORT": str(base + 3),
        "FLEET_OSCORE_PORT": str(base + 4),
    }
    command = [sys.executable, "manage.py", "quickstart", "--headless", "--devices", str(DEVICES), "--seed", str(SEED)]
    command += ["--dir", str(folder), "--summary", str(summary)]
    log = (folder.parent / f"{summary.stem}.log").open("wb")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    log.close()
    return process


def wait_for(path, words, process, seconds=150):
    """Wait until a log says something; give up when it has said nothing new for so many seconds."""
    length, heard = 0, time.monotonic()
    while words not in (text := path.read_text(errors="replace")):
        if len(text) > length:
            length, heard = len(text), time.monotonic()
        assert time.monotonic() - heard < seconds, text[-2000:]
        assert process.poll() is None, text[-2000:]
        time.sleep(0.1)


def test_the_story_goes_on_after_kill_9_in_the_middle(tmp_path):
    folder, first, second = tmp_path / "set-up", tmp_path / "first.json", tmp_path / "second.json"
    process = quickstart(folder, first)
    wait_for(tmp_path / "first.log", "firmware-1.2.4: wave 25 % is open", process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    assert not first.exists()

    again = quickstart(folder, second)
    code = again.wait(timeout=1800)  # quickstart itself gives up when nothing goes on
    assert code == 0, (tmp_path / "second.log").read_text()[-3000:]
    facts = json.loads(second.read_text())
    assert facts["ok"], facts["wrong"]
    assert facts["devices"] == facts["enrolled"] == DEVICES
    assert (facts["firmware_updated"], facts["refused_tampered"], facts["quarantined"]) == (DEVICES - 2, 1, 1)
    assert sorted(one["name"] for one in facts["rollouts"]) == sorted({one["name"] for one in facts["rollouts"]})
    assert {one["state"] for one in facts["rollouts"]} == {"finished"}
