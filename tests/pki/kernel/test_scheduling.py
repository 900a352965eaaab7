"""Short turns are asked for, and the niceness stays."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import json, os
from pki.kernel import scheduling
agreed = scheduling.ask_for_short_turns(300_000)
said = dict(line.split(":", 1) for line in open("/proc/self/sched") if ":" in line)
named = {name.strip(): value.strip() for name, value in said.items()}
print(json.dumps([agreed, named.get("se.slice"), os.nice(0), os.sched_getscheduler(0)]))
"""


@pytest.mark.skipif(not Path("/proc/self/sched").exists(), reason="this kernel does not show its schedule")
def test_the_kernel_gives_short_turns_where_it_knows_them():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    agreed, turn, nice, policy = json.loads(done.stdout)
    assert (nice, policy) == (os.nice(0), os.SCHED_OTHER)
    newer = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12)
    if turn is not None and newer:
        assert agreed
        assert turn == "300000"
