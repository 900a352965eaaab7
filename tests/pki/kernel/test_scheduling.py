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
@pytest.mark.parametrize("nicer", [0, 5])
def test_the_kernel_gives_short_turns_where_it_knows_them(nicer):
    agreed, turn, nice, policy = _asked("-c", f"import os; os.nice({nicer})\n{LOOK}")
    assert (nice, policy) == (min(os.nice(0) + nicer, 19), os.SCHED_OTHER)
    newer = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12)
    if turn is not None and newer:
        assert agreed
        assert turn == "300000"


@pytest.mark.skipif(not Path("/proc/self/sched").exists(), reason="this kernel does not show its schedule")
def test_a_policy_that_somebody_has_chosen_stays():
    chosen = "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
    agreed, _, _, policy = _asked("-c", chosen + LOOK)
    assert (agreed, policy) == (False, os.SCHED_BATCH)


def _asked(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)
