"""Run a model where it can do no harm: what arena it takes, and whether its golden vectors come out right."""

import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ota import sandbox
from ota.errors import RefusedBundleError, VerifierError

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


def tool() -> str:
    """Return name and version of the interpreter, or nothing where there is none for this machine."""
    try:
        return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def measure(image: Path, vectors: Path | None = None) -> Trial:
    """Run a model in a child process that can reach nothing.

    A model on which the interpreter crashes, or takes too long, does not run.

    Args:
        image: the staged model.
        vectors: its ``golden.cbor``, which was read already.
    """
    with tempfile.TemporaryDirectory(prefix="muster-measure-") as folder:
        request = {
            "model": str(image.resolve()),
            "vectors": str(vectors.resolve()) if vectors else "",
            "scratch": folder,
        }
        try:
            said = sandbox.run("ota.measuring", request, Path(folder), WALL_S)
        except (RefusedBundleError, VerifierError) as error:
            return Trial(runs=False, message=f"the interpreter did not come to an end: {error.detail}"[:200])
    if not isinstance(said.get("runs"), bool):
        return Trial(runs=False, message="the interpreter gave no verdict")
    total, head, failed = (int(said.get(name, 0)) for name in ("total", "head", "failed"))
    message = str(said.get("message", ""))[:200]
    return Trial(said["runs"], message, total, head, failed, float(said.get("difference", 0)))
