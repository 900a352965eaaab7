"""Run a model's golden vectors before it is confirmed, in a child process, because a bad model may crash it.

``python -m fleet.agent.trial MODEL VECTORS`` is that child; it answers with one JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypedDict

from fleet.agent.errors import RefusedError
from fleet.agent.slots import Slots
from ota.contract import golden, interpreter
from pki.kernel import confine

WALL_S = 120
CPU_S, MEMORY = 60, 1 << 30
_ROOT = Path(__file__).resolve().parents[2]


def check_vectors(pair: Slots) -> int:
    """Run the vectors of the model that runs, if it came with some; return the bytes of arena that it took, else 0.

    Raises:
        RefusedError: a vector fails, by how much at which case; or they cannot be run here, and so prove nothing.
    """
    vectors = pair.read_golden()
    if vectors is None:
        return 0
    if not interpreter.is_interpreter_installed():
        msg = "self-test: the model has golden vectors, but this device has no interpreter to run them"
        raise RefusedError(msg)
    said = _said(pair.read_running(), vectors)
    if not said.get("runs"):
        msg = f"self-test: the model does not run: {said.get('message', 'the interpreter crashed')}"
        raise RefusedError(msg)
    if said["failed"]:
        msg = f"self-test: golden vector {said['failed']} fails, off by {said['difference']:g}"
        raise RefusedError(msg)
    return int(said["total"])


class TrialAnswer(TypedDict, total=False):
    """What the child says of a model: a ``ota.contract.interpreter`` trial; nothing if it died."""

    runs: bool
    message: str
    failed: int
    difference: float
    total: int


def _said(model: bytes, vectors: bytes) -> TrialAnswer:
    """Let the child run what was read and compared: it gets the bytes themselves, not names of files."""
    try:
        with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
            return _answer_of(_filled(first, model), _filled(second, vectors))
    except (subprocess.TimeoutExpired, ValueError, OSError):
        return {}


def _filled(file: IO[bytes], data: bytes) -> int:
    file.write(data)
    file.flush()
    return file.fileno()


def _answer_of(model: int, vectors: int) -> TrialAnswer:
    done = subprocess.run(  # noqa: S603  because the command is fixed, and the bytes were compared with what is signed
        [sys.executable, "-m", "fleet.agent.trial", f"/dev/fd/{model}", f"/dev/fd/{vectors}"],
        pass_fds=(model, vectors),
        capture_output=True,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
        timeout=WALL_S,
        check=False,
    )
    facts: TrialAnswer = json.loads(done.stdout)
    return facts


def main() -> None:
    """Run one model."""
    model, vectors = Path(sys.argv[1]), Path(sys.argv[2])
    confine.set_limits(cpu_s=CPU_S, address_space=MEMORY, file_size=1 << 20)
    trial = asdict(interpreter.try_out(model.read_bytes(), golden.read_vectors(vectors.read_bytes())))
    trial["difference"] = min(trial["difference"], sys.float_info.max)  # JSON knows no infinity
    sys.stdout.write(json.dumps(trial))


if __name__ == "__main__":
    main()
