"""Run a model where it can do no harm: what arena it takes, and whether its golden vectors come out right."""

import importlib.metadata
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ota import sandbox
from ota.contract import interpreter
from ota.errors import RefusedBundleError

WALL_S = 60
_PACKAGE = "tflite-micro"


@dataclass(frozen=True, slots=True)
class Trial:
    """What the reference interpreter made of a model.

    Args:
        runs: whether it runs it.
        message: why not.
        total: bytes of arena that it took, of which ``head`` for activations.
        head: see there.
        failed: number of the first golden vector that came out wrong; 0 when none did.
        difference: by how much, at most.
    """

    runs: bool
    message: str = ""
    total: int = 0
    head: int = 0
    failed: int = 0
    difference: float = 0.0


def interpreter_version() -> str:
    """Return name and version of the interpreter, or nothing where there is none for this machine."""
    try:
        return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def measure_model(image: Path, vectors: Path | None = None, cases: int = 0) -> Trial:
    """Run a model in a child process that can reach nothing.

    A model on which the interpreter crashes, or takes too long, does not run. Nothing that the child says is trusted
    further than its form allows: it has run hostile code.

    Args:
        image: the staged model.
        vectors: its ``golden.cbor``, which was read already.
        cases: how many vectors are in it.

    Raises:
        VerifierError: the child could not be run; nothing is known of the model.
    """
    with tempfile.TemporaryDirectory(prefix="muster-measure-") as folder:
        files = {"model": image} | ({"vectors": vectors} if vectors else {})
        try:
            said = sandbox.run_confined("ota.measuring", {}, files, Path(folder), WALL_S).answer
        except RefusedBundleError as error:
            return Trial(runs=False, message=f"the interpreter did not finish: {error.detail}"[:200])
    return read_trial(said, cases)


def read_trial(said: Mapping[str, object], cases: int) -> Trial:
    """Return what a child said, if it has the form of an answer."""
    match said:
        case {"runs": False, "message": str(message)}:
            return Trial(runs=False, message="".join(char for char in message if char.isprintable())[:200])
        case {"runs": True, "total": int(total), "head": int(head), "failed": int(failed), "difference": float(by)}:
            sane = 0 < total <= interpreter.ARENA and 0 <= head <= total and 0 <= failed <= cases and math.isfinite(by)
            if sane and not isinstance(failed, bool):
                return Trial(True, "", total, head, failed, by)  # noqa: FBT003  because it runs
    return Trial(runs=False, message="the interpreter's result cannot be parsed")
