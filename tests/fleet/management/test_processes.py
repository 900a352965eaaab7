"""Children of the quickstart: one that ends by itself is named, with its log and what the log ends with."""

import signal

import pytest

from fleet.management.quickstart.processes import Processes
from pki.kernel.errors import UnavailableError
from tests.factories.story import eventually


def test_a_child_that_ended_is_named_with_the_end_of_its_log(tmp_path):
    processes = Processes(tmp_path, {})
    processes.start("worker", "-c", "print('x' * 5000); print('first'); print('The port 8443 is taken.'); exit(3)")
    processes.running["worker"].wait(30)
    with pytest.raises(UnavailableError) as refused:
        processes.check()
    assert f"The process worker exited with 3. See {tmp_path}/log/worker.log." in str(refused.value)
    assert str(refused.value).endswith("first / The port 8443 is taken.")
    assert len(str(refused.value)) < 3000


def test_a_child_that_ignores_the_request_to_end_is_killed_and_waited_for(tmp_path):
    processes = Processes(tmp_path, {}, patience_s=0.2)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    processes.start("worker", "-c", deaf)
    child = processes.running["worker"]
    assert eventually(lambda: "deaf" in (tmp_path / "log" / "worker.log").read_text())
    processes.stop()
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_runs_is_no_trouble(tmp_path):
    processes = Processes(tmp_path, {})
    processes.start("worker", "-c", "import time; time.sleep(60)")
    try:
        processes.check()
    finally:
        processes.stop()
