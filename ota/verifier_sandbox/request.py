"""What the server asks a supervisor for: one line of JSON, and files as open descriptors."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_REQUEST = 1 << 20


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """One piece of work.

    Args:
        body: what the module understands.
        files: descriptors of the artefacts, by name; a path could be exchanged between two looks.
        scratch: the only folder that may be written.
        seconds: of the wall clock.
    """

    body: Mapping[str, object]
    files: Mapping[str, int]
    scratch: Path
    seconds: float

    def path(self, name: str) -> Path | None:
        """Return the path by which this process, and programs that it starts, open a file; None if it was not given."""
        descriptor = self.files.get(name)
        return None if descriptor is None else Path("/proc", Path("/proc/self").readlink(), "fd", str(descriptor))

    def given(self, name: str) -> Path:
        """Return the path of a file that must have been given.

        Raises:
            KeyError: it was not.
        """
        path = self.path(name)
        if path is None:
            raise KeyError(name)
        return path


def read_sandbox_request() -> SandboxRequest:
    """Return the request on standard input, which stays open: its end tells that the server is gone."""
    line = sys.stdin.buffer.readline(MAX_REQUEST)
    asked = json.loads(line)
    return SandboxRequest(asked["body"], asked["files"], Path(asked["scratch"]), float(asked["seconds"]))
