"""Fork a confined child, watch it, end everything that it started, and only then give its answer away."""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ota.verifier_sandbox import confinement, usage
from ota.verifier_sandbox.bounds import Bounds
from ota.verifier_sandbox.report import ChildReport
from ota.verifier_sandbox.request import SandboxRequest
from ota.verifier_sandbox.usage import OverBoundsError, Watched

#: How much of an answer, and of complaints, is given on: bytes.
MAX_ANSWER, MAX_COMPLAINT = 512 * 1024, 2000
INTERVAL_S = 0.02
#: How long ending may take; a process that is left afterwards cannot be killed (it waits for a disk).
KILL_S = 10.0


def run_child(request: SandboxRequest, bounds: Bounds, work: Callable[[SandboxRequest], Mapping[str, object]]) -> None:
    """Run ``work`` in a confined child; write one JSON object about it to standard output.

    Args:
        request: with the artefacts' descriptors.
        bounds: what the child may use.
        work: opens hostile bytes, in the child.
    """
    report: ChildReport = {"end": "", "code": 0, "answer": "", "complaint": "", "holds": {}, "missing": []}
    try:
        around = confinement.prepare_supervisor(request.scratch)
    except OSError as error:
        report["missing"] = [f"resources: {confinement.ROOT} ({error.strerror})"]
        _write(report)
        return
    watched = Watched(request.scratch, around.user, _inodes(request), bounds)
    answer, complaint = os.memfd_create("answer"), os.memfd_create("complaint")
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        _be_child(request, bounds, work, around, (answer, complaint, sink))
    os.close(sink)
    with suppress(OSError):
        os.setpgid(child, child)
    report["holds"], report["missing"] = _read_confinement(source)
    report["code"], report["end"] = _watch(child, request.seconds, watched)
    if not _end_all():
        report["end"] = "alive"
    left = _tidy(watched)
    report["end"] = report["end"] or left
    report["answer"], report["complaint"] = _text(answer, MAX_ANSWER + 1), _text(complaint, MAX_COMPLAINT)
    _write(report)


def _be_child(
    request: SandboxRequest,
    bounds: Bounds,
    work: Callable[[SandboxRequest], Mapping[str, object]],
    around: confinement.Surroundings,
    outputs: tuple[int, int, int],
) -> None:
    """Shut this process in, say how, do the work, and end."""
    answer, complaint, sink = outputs
    code = 1
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        nothing = os.open("/dev/null", os.O_RDWR)
        for old, new in ((nothing, 0), (answer, 1), (complaint, 2)):
            os.dup2(old, new)
        confined = confinement.confine_child(around, request, bounds)
        os.write(sink, json.dumps({"holds": confined.holds, "missing": confined.missing}).encode())
        os.close(sink)
        if not confined.missing:
            sys.stdout.write(json.dumps(work(request)))
            sys.stdout.flush()
            code = 0
    except BaseException as error:  # noqa: BLE001  because this process must never continue as a supervisor
        with suppress(BaseException):
            os.write(2, f"{type(error).__name__}: {error}"[:500].encode(errors="replace"))
    finally:
        os._exit(code)


def _read_confinement(source: int) -> tuple[dict[str, str], list[str]]:
    """Return what the child said of its confinement before it opened anything: what holds, and what is missing."""
    with os.fdopen(source, "rb") as stream:
        data = stream.read()
    if not data:
        return {}, ["the child ended before it was confined"]
    confined = json.loads(data)
    return confined["holds"], confined["missing"]


def _watch(child: int, seconds: float, watched: Watched) -> tuple[int, str]:
    """Return how the child ended, and why it had to, once it has."""
    deadline, cause = time.monotonic() + seconds, ""
    ended, looker = os.pidfd_open(child), select.poll()
    looker.register(ended, select.POLLIN)
    looker.register(0, select.POLLHUP)
    while not cause:
        happened = dict(looker.poll(INTERVAL_S * 1000))
        if ended in happened:
            break
        if 0 in happened:
            cause = "orphaned"
        elif time.monotonic() > deadline:
            cause = "time"
        else:
            cause = _over(watched, usage.living_descendants(os.getpid()))
    os.close(ended)
    # Before the child is reaped, so that its number is still its group's: nobody can fork away between two looks.
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), cause


def _over(watched: Watched, pids: list[int]) -> str:
    try:
        watched.demand_bounds(pids)
    except OverBoundsError as error:
        return str(error)
    return ""


def _end_all() -> bool:
    """Kill until no descendant is left; say whether none is."""
    deadline = time.monotonic() + KILL_S
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = usage.living_descendants(os.getpid())
        if not left:
            return True
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    return False


def _tidy(watched: Watched) -> str:
    """Return what is wrong with the content of the scratch folder, which is then emptied; its owners have ended."""
    cause = _over(watched, [])
    if cause:
        usage.clear_folder(watched.scratch)
    return cause


def _inodes(request: SandboxRequest) -> set[tuple[int, int]]:
    facts = [os.fstat(descriptor) for descriptor in request.files.values()]
    return {(fact.st_dev, fact.st_ino) for fact in facts}


def _text(descriptor: int, limit: int) -> str:
    return os.pread(descriptor, limit, 0).decode(errors="replace")


def _write(report: ChildReport) -> None:
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
