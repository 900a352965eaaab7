"""Judge hostile artefacts in a child process that can reach nothing and ends soon.

The child has a session of its own (killed as a group), an empty environment but PATH and TMPDIR, a private
TMPDIR, limits on time, memory, files and processes, no network where the system allows that, and sees no
file but the artefact (Landlock). What it says is bounded and parsed, never rendered unescaped.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from ota.errors import RefusedBundleError, VerifierError
from ota.formats.judgement import Case, Judgement, TrustAnchor
from pki.kernel import clock

WALL_S = 60
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
_logger = logging.getLogger(__name__)


def judge(
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
        VerifierError: the verifier did not run; the artefact was not judged.
    """
    with tempfile.TemporaryDirectory(prefix="muster-judge-") as folder:
        case = Case(
            format_, image.resolve(), signature, tuple(anchors), clock.unix(), Path(folder), tuple(listed.items())
        )
        answer = run("ota.formats", case.to_json(), case.scratch, WALL_S)
    if not isinstance(answer.get("ok"), bool):
        msg = "The verifier gave no verdict. Look into the log and try again."
        raise VerifierError(msg)
    if not answer["ok"]:
        raise RefusedBundleError(str(answer.get("detail", "refused"))[:500], format=format_)
    measures = ", ".join(answer.get("confined", []))
    statements = [*answer["statements"], {"check": "confinement", "tool": "muster", "outcome": measures}]
    return Judgement(answer["facts"], statements)


def run(module: str, request: Mapping[str, Any], scratch: Path, seconds: float) -> dict[str, Any]:
    """Return what a child answers, which reads one request and shuts itself in.

    Args:
        module: a package of this floor with a ``__main__``.
        request: for its standard input, as JSON.
        scratch: its working folder, the only one that it may write.
        seconds: of the wall clock.

    Raises:
        RefusedBundleError: it took too long, or more memory than it may have.
        VerifierError: it could not run.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        child = subprocess.Popen(  # noqa: S603  because the command is fixed and the artefact is data
            [sys.executable, "-I", "-c", _START, str(_ROOT), module],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complained,
            cwd=scratch,
            env={"PATH": _PATH, "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps(request).encode(), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            msg = f"The file took longer than {seconds:.0f} s to verify and is refused."
            raise RefusedBundleError(msg) from error
        finally:
            _end(child)
        return _answer(child.returncode, said, complained)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the whole group: some tools leave children behind."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _answer(code: int, said: BinaryIO, complained: BinaryIO) -> dict[str, Any]:
    said.seek(0)
    complained.seek(0)
    trouble = complained.read(2000).decode(errors="replace").strip()
    if trouble:
        _logger.warning("the verifier complained", extra={"said": trouble[-1000:]})
    if -code in _BY_THE_FILE:
        msg = "The file needs more time or memory to verify than is allowed, and is refused."
        raise RefusedBundleError(msg)
    data = said.read(MAX_ANSWER + 1)
    if len(data) > MAX_ANSWER:
        msg = "The file holds more facts than are kept, and is refused."
        raise RefusedBundleError(msg)
    try:
        answer = json.loads(data)
    except ValueError as error:
        msg = "The verifier could not run on this machine. Look into the log; nothing was stored."
        raise VerifierError(msg, code=code) from error
    return answer if isinstance(answer, dict) else {}
