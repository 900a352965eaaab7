"""The supervisor of a child that runs a model and answers with one JSON object.

Started by ``ota.measuring`` only. Everything that is needed is imported before, since nothing can be read after.
"""

import os
import sys

from ota import verifier_sandbox
from ota.contract import golden, interpreter
from ota.verifier_sandbox import Bounds, SandboxRequest

os.environ["OPENBLAS_NUM_THREADS"] = "1"


def main() -> None:
    """Run one model."""
    request = verifier_sandbox.read_sandbox_request()
    interpreter.load_interpreter()
    verifier_sandbox.run_child(request, Bounds(), _found)


def _found(request: SandboxRequest) -> dict[str, object]:
    model, vectors = request.given("model"), request.path("vectors")
    cases = golden.read_vectors(vectors.read_bytes()) if vectors else ()
    verdict = interpreter.try_out(model.read_bytes(), cases)
    difference = float(min(verdict.difference, sys.float_info.max))  # JSON knows no infinity
    facts = {"runs": verdict.runs, "message": verdict.message, "total": verdict.total, "head": verdict.head}
    return {**facts, "failed": verdict.failed, "difference": difference}


if __name__ == "__main__":
    main()
