"""The supervisor of a child that makes patches: it makes each candidate, tries it, writes what came out right.

Started by ``ota.sandbox`` only. A maker that crashes, is slow or wrong is dropped, and said.
"""

import hashlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from ota import verifier_sandbox
from ota.deltas.candidates import CANDIDATES
from ota.verifier_sandbox import Bounds, SandboxRequest
from pki.kernel import intake

MAKE_S, CPU_S = 60, 240


class TooSlowError(Exception):
    """A maker took longer than it may."""


def main() -> None:
    """Make the patches of one pair."""
    request = verifier_sandbox.read_sandbox_request()
    most = 2 * request.given("new").stat().st_size + (1 << 20)
    verifier_sandbox.run_child(request, Bounds(most, CPU_S), _made)


def _made(request: SandboxRequest) -> dict[str, object]:
    old, new = request.path("old"), request.given("new")
    signal.signal(signal.SIGALRM, _too_slow)
    base, result = (old.read_bytes() if old else b""), new.read_bytes()
    return {"made": [_tried(name, base, result, request.scratch) for name in _formats(request.body)]}


def _formats(body: Mapping[str, object]) -> list[str]:
    return [intake.read_text(item, "formats") for item in intake.list_of(body["formats"], "formats")]


def _too_slow(_number: int, _frame: object) -> None:
    raise TooSlowError


def _tried(name: str, base: bytes, result: bytes, scratch: Path) -> dict[str, object]:
    """Return the result of one candidate; it is kept only if its applier produces the exact image."""
    candidate, began = CANDIDATES[name], time.monotonic()
    if max(len(base), len(result)) > candidate.most:
        return {"format": name, "trouble": "the image is too large for it"}
    try:
        signal.alarm(MAKE_S)
        patch = candidate.make(base, result)
        right = candidate.apply(base, patch, len(result)) == result
    except Exception as error:  # noqa: BLE001  because any maker may break on any image, and is dropped then
        return {"format": name, "trouble": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.alarm(0)
    if not right:
        return {"format": name, "trouble": "its applier produces another image"}
    (scratch / name).write_bytes(patch)
    facts = {"size": len(patch), "sha256": hashlib.sha256(patch).hexdigest()}
    return {"format": name, **facts, "seconds": round(time.monotonic() - began, 2)}


if __name__ == "__main__":
    main()
