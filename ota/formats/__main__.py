"""The child process: read a case from standard input, judge it, write one JSON object to standard output.

Started by ``ota.sandbox`` only. The verifier is imported before the process is shut in, because afterwards
the project's own folder cannot be read any more.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ota.formats import cell
from ota.formats.judgement import Case
from pki.kernel.errors import DomainError

_NAMES = ("composite", "config", "esp", "generic", "mcuboot", "mender", "oms", "rauc", "swu", "tflite")
_VERIFIERS = {**{name: f"ota.formats.{name}" for name in _NAMES}, "onnx": "ota.formats.onnx_model"}
_MAX_REQUEST = 1 << 20


def main() -> None:
    """Judge one case."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    case = Case.from_json(json.loads(sys.stdin.buffer.read(_MAX_REQUEST)))
    verifier = importlib.import_module(_VERIFIERS[case.format])
    artefacts = [path for path in (case.image, case.signature) if path]
    measures = cell.shut(artefacts, case.scratch, getattr(verifier, "unpacked", _small)(case.image))
    sys.stdout.write(json.dumps({**answer(verifier, case), "confined": measures}))


def _small(_image: Path) -> int:
    """Return how long a file most verifiers may write."""
    return cell.FILE_SIZE


def answer(verifier: ModuleType, case: Case) -> dict[str, Any]:
    """Return the verdict; what a verifier cannot read is refused, whatever went wrong in it."""
    try:
        judgement = verifier.judge(case)
    except DomainError as error:
        return {"ok": False, "detail": error.detail}
    except MemoryError:
        return {"ok": False, "detail": "The file needs more memory to inspect than a verifier may use."}
    except Exception as error:  # noqa: BLE001  because hostile bytes may break any parser, and that is a refusal
        print(f"{type(error).__name__}: {error}"[:500], file=sys.stderr)  # noqa: T201  because standard error is the log of this child
        return {
            "ok": False,
            "detail": "The file cannot be read as what it claims to be; it is damaged or hostile.",
        }
    return {"ok": True, "facts": judgement.facts, "statements": judgement.statements}


if __name__ == "__main__":
    main()
