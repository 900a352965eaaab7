"""Cost of the server's processes in a filled installation: idle worker, start, audit-log verification."""

import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

from fleet.environment import ROOT
from fleet.management.benches.ground import BenchSetUp, cpu_seconds
from fleet.management.benches.http import build_request, client_context, connect_tls, exchange_request
from pki.kernel import handover

#: seconds: first for the worker's pending work, then for the measurement
WARM_S, IDLE_S = 30.0, 60.0
START_PATIENCE_S = 300.0
#: runs a command and prints its peak memory in KB; Linux counts the memory of the process that starts a command as the
#: command's own, so that a small process starts it
_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], close_fds=False)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


class WorkerCost(TypedDict):
    """Share of a core in percent, processor seconds before the measurement, peak memory in MB."""

    share: float
    first_s: float
    memory_mb: float


class StartCost(TypedDict):
    """Seconds by the clock and of processor time."""

    seconds: float
    processor_s: float


class VerifyCost(TypedDict):
    """Seconds, peak memory in MB, last output, and whether the verification succeeded."""

    seconds: float
    memory_mb: float
    said: str
    ok: bool


def idle_worker(installation: BenchSetUp, warm_s: float = WARM_S, idle_s: float = IDLE_S) -> WorkerCost:
    """Return the share of a core (percent) and the memory of an idle worker; a signer runs."""
    installation.processes.start("worker", "manage.py", "work")
    child = installation.processes.running["worker"]
    time.sleep(warm_s)
    before, began = cpu_seconds(child.pid), time.monotonic()
    time.sleep(idle_s)
    installation.processes.check()
    used, took = cpu_seconds(child.pid) - before, time.monotonic() - began
    seen: WorkerCost = {"share": 100 * used / took, "first_s": before, "memory_mb": _peak_mb(child.pid)}
    child.terminate()
    child.wait(timeout=600)
    del installation.processes.running["worker"]
    return seen


def measure_start(installation: BenchSetUp) -> StartCost:
    """Return the seconds from the start of ``manage.py serve`` to the first successful ``/readyz``.

    The result includes the server's processor seconds: on a busy machine the two differ.

    Raises:
        TimeoutError: the server was not ready in time.
    """
    installation.processes.stop()  # the server starts its own signer
    began = time.monotonic()
    installation.processes.start("serve", "manage.py", "serve")
    try:
        while time.monotonic() < began + START_PATIENCE_S:
            installation.processes.check()
            try:
                with connect_tls(
                    client_context(installation.anchor), installation.ports["FLEET_OPERATOR_PORT"]
                ) as line:
                    exchange_request(line, build_request("GET", "/readyz"))
            except (OSError, RuntimeError):
                time.sleep(0.05)
            else:
                took = time.monotonic() - began
                return {"seconds": took, "processor_s": cpu_seconds(installation.processes.running["serve"].pid)}
    finally:
        installation.processes.stop()
    msg = "the server does not start"
    raise TimeoutError(msg)


def measure_verify(installation: BenchSetUp) -> VerifyCost:
    """Return seconds, peak memory and last output of ``manage.py ledger verify``; a signer runs."""
    began = time.monotonic()
    descriptors = handover.descriptors_of(handover.KINDS)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, sys.executable, "manage.py", "ledger", "verify"],
        cwd=ROOT,
        env=installation.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        check=False,
    )
    *said, peak = done.stdout.decode().strip().splitlines()
    return {
        "seconds": time.monotonic() - began,
        "memory_mb": int(peak) / 1024,
        "said": "\n".join(said)[-400:].strip(),
        "ok": done.returncode == 0,
    }


def _peak_mb(pid: int) -> float:
    """Return the peak memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
