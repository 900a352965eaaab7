"""All processes of a server are asked to end at once, and the signer when nobody needs it any more."""

import os
import sys
from pathlib import Path

from fleet.management.serving.supervisor import Supervisor
from tests.factories.story import eventually

CHILD = """
import os, signal, sys, time
name, log = sys.argv[1:]
def say(word):
    with open(log, "a") as file:
        file.write(f"{word} {name}\\n")
def end(*_):
    say("asked")
    time.sleep(0.5)
    say("ended")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
say("up")
while True:
    time.sleep(60)
"""


def test_the_first_process_ends_when_all_others_have(tmp_path):
    log = tmp_path / "log"
    supervisor = Supervisor(tmp_path, {}, lambda: None)
    for name in ("signer", "worker", "listener"):
        supervisor.add(name, lambda: 0)
        supervisor.children[-1].pid = os.posix_spawn(
            sys.executable, [sys.executable, "-c", CHILD, name, str(log)], os.environ
        )
    eventually(lambda: log.exists() and log.read_text().count("up") == 3)
    supervisor.end()
    words = [line for line in log.read_text().splitlines() if not line.startswith("up")]
    assert {*words[:2]} == {"asked worker", "asked listener"}, "they end side by side"
    assert words[-2:] == ["asked signer", "ended signer"]
    assert not [one.pid for one in supervisor.children if Path(f"/proc/{one.pid}").exists()]
