"""The signer's own log: each line is in the file before the answer leaves, and on the disk at once or in a moment."""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from pki.kernel import clock, files

#: How soon a line is on the disk that did not wait for it: what a power cut may take from the log (not from the
#: ledger and the journal, which wait).
SOON = 0.02


class Log:
    """Lines that are only ever added.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        files.private_folder(path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and _last(path, size) != b"\n":
            os.write(self._descriptor, b"\n")  # a line that a crash has cut ends here
        self._dirty = threading.Event()
        threading.Thread(target=self._sync, daemon=True).start()

    def write(self, facts: Mapping[str, object], *, wait: bool) -> None:
        """Add one line.

        Args:
            facts: what happened.
            wait: until the disk has it; else it follows within ``SOON``.
        """
        line = {"at": clock.now().isoformat(), **facts}
        data = json.dumps(line, sort_keys=True).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]
        if wait:
            os.fsync(self._descriptor)
        else:
            self._dirty.set()

    def close(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._descriptor)

    def _sync(self) -> None:
        while True:
            self._dirty.wait()
            self._dirty.clear()
            os.fsync(self._descriptor)
            time.sleep(SOON)


def _last(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1)
