"""The child process that makes patches: reads a request, makes each candidate, tries it, writes what came out right.

Started by ``ota.sandbox`` only. A maker that crashes, is slow or wrong is dropped, and said.
"""

import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ota.deltas.candidates import CANDIDATES
from ota.formats import cell

MAKE_S, CPU_S = 60, 240
_MAX_REQUEST = 1 << 16


class TooSlowError(Exception):
    """A maker took longer than it may."""


def main() -> None:
    """Make the patches of one pair."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read(_MAX_REQUEST))
    scratch, new = Path(request["scratch"]), Path(request["new"])
    old = Path(request["old"]) if request["old"] else None
    most = 2 * new.stat().st_size + (1 << 20)
    cell.shut([path for path in (old, new) if path], scratch, most, CPU_S)
    signal.signal(signal.SIGALRM, _too_slow)
    base, result = (old.read_bytes() if old else b""), new.read_bytes()
    sys.stdout.write(json.dumps({"made": [_tried(name, base, result, scratch) for name in request["formats"]]}))


def _too_slow(_number: int, _frame: object) -> None:
    raise TooSlowError


def _tried(name: str, base: bytes, result: bytes, scratch: Path) -> dict[str, Any]:
    """Return what came of one candidate; only what its applier turns into the very image is kept."""
    candidate, began = CANDIDATES[name], time.monotonic()
    if max(len(base), len(result)) > candidate.most:
        return {"format": name, "trouble": "the image is too large for it"}
    try:
        signal.alarm(MAKE_S)
        made = candidate.make(base, result)
        right = candidate.apply(base, made, len(result)) == result
    except Exception as error:  # noqa: BLE001  because any maker may break on any image, and is dropped then
        return {"format": name, "trouble": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.alarm(0)
    if not right:
        return {"format": name, "trouble": "its own applier gives another image"}
    (scratch / name).write_bytes(made)
    facts = {"size": len(made), "sha256": hashlib.sha256(made).hexdigest()}
    return {"format": name, **facts, "seconds": round(time.monotonic() - began, 2)}


if __name__ == "__main__":
    main()
