"""Verify untrusted artefacts in an isolated child process with a time limit.

What is promised: no network, no file but the artefacts, bounded scratch space, memory, processor time and processes,
and no descendant that outlives the verdict. ``ota.verifier_sandbox`` says by which mechanisms; where one promise
cannot be kept, nothing is verified and the upload is refused with a sentence. What the child says is bounded and
parsed, never rendered unescaped.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from ota.errors import RefusedBundleError, VerifierError
from ota.formats.judgement import ArtefactToVerify, Judgement, TrustAnchor
from ota.verifier_sandbox.report import ChildReport, read_report
from pki.kernel import clock, intake, strict_json
from pki.kernel.errors import InvalidError

WALL_S = 60
#: How much longer a supervisor may take to end what its child has started.
GRACE_S = 20.0
MAX_ANSWER = 512 * 1024
_ROOT = Path(__file__).resolve().parent.parent
_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_PATH = "/usr/local/bin:/usr/bin:/bin"
#: ends of a child that the bytes it read have brought about
_BY_THE_FILE = {
    signal.SIGXCPU, signal.SIGKILL, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE,
    signal.SIGILL,
}  # fmt: skip
#: ends that a supervisor brings about
_REFUSALS = {
    "time": "The file takes longer to verify than is allowed, and is refused.",
    "memory": "The file needs more memory to verify than is allowed, and is refused.",
    "scratch": "The file needs more disk space to verify than is allowed, and is refused.",
}
_FAILURES = {
    "alive": "A process that the verifier started could not be stopped, so its result is not used. See the log.",
    "orphaned": "The verifier was stopped because the server's process ended. Try again.",
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxOutcome:
    """The result of a child process.

    Args:
        answer: what it says; it has read hostile bytes.
        holds: promised property to the mechanism that kept it.
    """

    answer: dict[str, object]
    holds: Mapping[str, str] = field(default_factory=dict)


def judge_artefact(
    format_: str,
    image: Path,
    anchors: Sequence[TrustAnchor],
    *,
    signature: Path | None = None,
    listed: Mapping[str, str] = MappingProxyType({}),
) -> Judgement:
    """Return what a format's verifier found, when it accepts the artefact.

    Args:
        format_: which verifier runs.
        image: the staged artefact.
        anchors: who may have signed it.
        signature: a detached signature, for formats that carry none.
        listed: path to SHA-256 of each file but the signature, for formats that sign a folder.

    Raises:
        RefusedBundleError: the artefact is refused; one sentence says why.
        VerifierError: the verifier did not run; the artefact was not verified.
    """
    with tempfile.TemporaryDirectory(prefix="muster-judge-") as folder:
        case = ArtefactToVerify(
            format_, image, signature, tuple(anchors), clock.unix(), Path(folder), tuple(listed.items())
        )
        files = {"image": image} | ({"signature": signature} if signature else {})
        outcome = run_confined("ota.formats", case.to_json(), files, case.scratch, WALL_S)
    answer = outcome.answer
    if not isinstance(answer.get("ok"), bool):
        msg = "The verifier returned no result. See the log and try again."
        raise VerifierError(msg)
    if not answer["ok"]:
        raise RefusedBundleError(str(answer.get("detail", "refused"))[:500], format=format_)
    measures = "; ".join(f"{name}: {how}" for name, how in outcome.holds.items())
    return Judgement.from_json(answer).also("confinement", "muster", measures)


def describe_confinement() -> Mapping[str, str]:
    """Return which mechanism enforces each guarantee on this machine; a child is started to check.

    Raises:
        VerifierError: a promise cannot be kept; the sentence says which, and uploads are refused for it.
    """
    with tempfile.TemporaryDirectory(prefix="muster-judge-") as folder:
        return run_confined("ota.verifier_sandbox", {}, {}, Path(folder), WALL_S).holds


def run_confined(
    module: str, request: Mapping[str, object], files: Mapping[str, Path], scratch: Path, seconds: float
) -> SandboxOutcome:
    """Return what a confined child answers.

    Args:
        module: a package with a ``__main__`` that keeps a child (``ota.verifier_sandbox``).
        request: for it, as JSON.
        files: the artefacts; they are opened once, here, and no path is followed again.
        scratch: its working folder, the only one that it may write.
        seconds: of the wall clock.

    Raises:
        RefusedBundleError: it took too long, or more memory or disk space than it may have.
        VerifierError: it could not run, or not be confined as promised.
    """
    with _opened(files) as descriptors, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        supervisor = subprocess.Popen(  # noqa: S603  because the command is fixed and the artefact is data
            [sys.executable, "-I", "-c", _START, str(_ROOT), module],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complained,
            cwd=scratch,
            env={"PATH": _PATH, "TMPDIR": str(scratch)},
            pass_fds=tuple(descriptors.values()),
            start_new_session=True,
        )
        asked = {"body": request, "files": descriptors, "scratch": str(scratch), "seconds": seconds}
        try:
            _wait(supervisor, json.dumps(asked).encode(), seconds + GRACE_S)
        finally:
            _end(supervisor)
        return _outcome(_report(supervisor.returncode, said, complained))


@contextmanager
def _opened(files: Mapping[str, Path]) -> Iterator[dict[str, int]]:
    """Yield each file's descriptor, for reading."""
    descriptors: dict[str, int] = {}
    try:
        for name, path in files.items():
            descriptors[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _wait(supervisor: "subprocess.Popen[bytes]", request: bytes, seconds: float) -> None:
    """Send the request and wait; standard input stays open, since its end tells the supervisor that we are gone."""
    with suppress(BrokenPipeError):  # it has ended already; its exit code says so
        if supervisor.stdin:
            supervisor.stdin.write(request + b"\n")
            supervisor.stdin.flush()
    # `Popen.wait` with a time looks every 50 ms only.
    ended, looker = os.pidfd_open(supervisor.pid), select.poll()
    looker.register(ended, select.POLLIN)
    try:
        over = looker.poll(seconds * 1000)
    finally:
        os.close(ended)
    if not over:
        msg = "The verifier could not be stopped in time. Nothing was stored. See the log."
        raise VerifierError(msg)


def _end(supervisor: "subprocess.Popen[bytes]") -> None:
    """End a supervisor, which has ended by itself but for a fault of ours."""
    with suppress(ProcessLookupError):
        supervisor.kill()
    supervisor.wait()
    if supervisor.stdin:
        with suppress(BrokenPipeError):
            supervisor.stdin.close()


def _report(code: int, said: BinaryIO, complained: BinaryIO) -> ChildReport:
    """Return what a supervisor reports; it has read no hostile byte."""
    said.seek(0)
    complained.seek(0)
    trouble = complained.read(2000).decode(errors="replace").strip()
    if trouble:
        _logger.warning("the verifier wrote to its error output", extra={"said": trouble[-1000:]})
    try:
        report = read_report(strict_json.read_json(said.read(), max_bytes=4 * MAX_ANSWER))
    except InvalidError as error:
        msg = "The verifier could not run on this machine. Nothing was stored. See the log."
        raise VerifierError(msg, code=code) from error
    return report


def _outcome(report: ChildReport) -> SandboxOutcome:
    """Return the child's answer, when it was confined as promised and came to its end.

    Raises:
        RefusedBundleError: it used more than it may.
        VerifierError: it was not confined as promised, or broke.
    """
    if report["complaint"].strip():
        _logger.warning("the verifier wrote to its error output", extra={"said": report["complaint"].strip()[-1000:]})
    if report["missing"]:
        msg = (
            "Uploads are refused: this machine does not confine the verifier as required "
            f"({'; '.join(report['missing'])}). `manage.py doctor` shows each promise."
        )
        raise VerifierError(msg)
    if report["end"] in _REFUSALS:
        raise RefusedBundleError(_REFUSALS[report["end"]])
    if report["end"]:
        raise VerifierError(_FAILURES[report["end"]])
    if -report["code"] in _BY_THE_FILE:
        msg = "The file needs more time or memory to verify than is allowed, and is refused."
        raise RefusedBundleError(msg)
    if len(report["answer"]) > MAX_ANSWER:
        msg = "The file has more facts than the server stores, and is refused."
        raise RefusedBundleError(msg)
    try:
        answer = strict_json.read_json(report["answer"], max_bytes=MAX_ANSWER, max_depth=intake.MOST_DEPTH)
    except InvalidError as error:
        msg = "The verifier could not run on this machine. Nothing was stored. See the log."
        raise VerifierError(msg, code=report["code"]) from error
    return SandboxOutcome(answer if isinstance(answer, dict) else {}, report["holds"])
