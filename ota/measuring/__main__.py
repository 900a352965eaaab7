"""The child process that runs a model: reads a request, shuts itself in, answers with one JSON object.

Started by ``ota.measuring`` only. Everything that is needed is imported before, since nothing can be read after.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from ota.formats import cell
from pki.kernel import golden, interpreter

_MAX_REQUEST = 1 << 16


def main() -> None:
    """Run one model."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read(_MAX_REQUEST))
    model, vectors = Path(request["model"]), Path(request["vectors"]) if request["vectors"] else None
    interpreter.load()
    cell.shut([path for path in (model, vectors) if path], Path(request["scratch"]))
    cases = golden.read(vectors.read_bytes()) if vectors else ()
    found = interpreter.try_out(model.read_bytes(), cases)
    difference = float(min(found.difference, sys.float_info.max))  # JSON knows no infinity
    facts = {"runs": found.runs, "message": found.message, "total": found.total, "head": found.head}
    sys.stdout.write(json.dumps({**facts, "failed": found.failed, "difference": difference}))


if __name__ == "__main__":
    main()
