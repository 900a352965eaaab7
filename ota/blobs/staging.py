"""Where bytes wait for a verdict: always a private folder of this machine, whatever store keeps them afterwards."""

import hashlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ota.errors import TooLargeError
from pki.kernel import files

CHUNK = 256 * 1024
_PREFIX = ".staging-"


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that came in and wait for a verdict.

    Args:
        path: where they lie, in a private folder that vanishes with the staging.
        size: in bytes.
        sha256: hex; the name under which they would be kept.
        sha1: hex; DDI clients ask for it.
        md5: hex; DDI clients ask for it.
    """

    path: Path
    size: int
    sha256: str
    sha1: str
    md5: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One blob of a store.

    Args:
        sha256: hex.
        size: in bytes.
        since: when it was written.
    """

    sha256: str
    size: int
    since: datetime


class Staging(ABC):
    """The side of a store where bytes come in.

    Args:
        folder: ``FLEET_DIR/blobs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sweep(self, before: float) -> int:
        """Remove staging folders that a killed process left, older than a Unix time; return how many."""
        swept = 0
        for one in self._folder.glob(f"{_PREFIX}*"):
            with suppress(FileNotFoundError):  # its upload has just ended
                if one.stat().st_mtime < before:
                    shutil.rmtree(one, ignore_errors=True)
                    swept += 1
        return swept

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a private folder for incoming bytes; what was not adopted is gone afterwards."""
        files.private_folder(self._folder)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._folder) as folder:
            yield Path(folder)

    def stage(self, stream: BinaryIO, folder: Path, name: str, limit: int) -> Staged:
        """Copy a stream into a staging folder and hash it on the way.

        Args:
            stream: read to its end, or until it exceeds the limit.
            folder: of ``staging()``.
            name: a plain name chosen by us.
            limit: bytes at most.

        Raises:
            TooLargeError: more bytes than ``limit`` came.
        """
        sha256, size = hashlib.sha256(), 0
        sha1, md5 = hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        path = folder / name
        with path.open("xb") as file:
            while part := stream.read(CHUNK):
                size += len(part)
                if size > limit:
                    msg = f"More than the {limit} bytes that were declared came in."
                    raise TooLargeError(msg)
                for digest in (sha256, sha1, md5):
                    digest.update(part)
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return Staged(path, size, sha256.hexdigest(), sha1.hexdigest(), md5.hexdigest())

    def put(self, stream: BinaryIO, limit: int) -> tuple[str, int]:
        """Keep a stream that is already believed; return its SHA-256 and size."""
        with self.staging() as folder:
            staged = self.stage(stream, folder, "0", limit)
            self.adopt(staged)
        return staged.sha256, staged.size

    @abstractmethod
    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already."""
