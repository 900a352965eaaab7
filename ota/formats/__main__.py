"""Supervisor of a verifier: read a case from standard input, verify it in a confined child, write one JSON object.

Started by ``ota.sandbox`` only. The verifier is imported before the child is confined, because afterwards
the project's own folder cannot be read any more.
"""

import importlib
import os
import sys
from types import ModuleType

from ota import verifier_sandbox
from ota.formats.judgement import ArtefactToVerify
from ota.verifier_sandbox import Bounds, SandboxRequest
from pki.kernel.errors import DomainError

_NAMES = ("composite", "config", "esp", "generic", "mcuboot", "mender", "oms", "rauc", "swu", "tflite")
_VERIFIERS = {**{name: f"ota.formats.{name}" for name in _NAMES}, "onnx": "ota.formats.onnx_model"}


def main() -> None:
    """Verify one case."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    request = verifier_sandbox.read_sandbox_request()
    verifier = importlib.import_module(_VERIFIERS[str(request.body["format"])])
    unpacked = getattr(verifier, "unpacked_size", None)
    bounds = Bounds(unpacked(request.given("image")) if unpacked else verifier_sandbox.FILE_SIZE)
    verifier_sandbox.run_child(request, bounds, lambda asked: answer_case(verifier, _case(asked)))


def _case(request: SandboxRequest) -> ArtefactToVerify:
    return ArtefactToVerify.from_json(request.body, request.given("image"), request.path("signature"), request.scratch)


def answer_case(verifier: ModuleType, case: ArtefactToVerify) -> dict[str, object]:
    """Return the verdict; any failure of the verifier to read the file is a refusal."""
    try:
        judgement = verifier.judge(case)
    except DomainError as error:
        return {"ok": False, "detail": error.detail}
    except MemoryError:
        return {"ok": False, "detail": "The file needs more memory to inspect than the verifier may use."}
    except Exception as error:  # noqa: BLE001  because hostile bytes may break any parser, and that is a refusal
        print(f"{type(error).__name__}: {error}"[:500], file=sys.stderr)  # noqa: T201  because standard error is the log of this child
        return {
            "ok": False,
            "detail": "The file cannot be parsed as its declared format; it is damaged or malicious.",
        }
    return {"ok": True, "facts": judgement.facts, "statements": judgement.statements}


if __name__ == "__main__":
    main()
