"""Blobs in a folder: staged while they come in, moved into place by their digest when they are accepted."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ota.errors import BlobNotFoundError, TooLargeError
from pki.kernel import files

CHUNK = 256 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


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


class LocalBlobs:
    """Blobs below one folder.

    Args:
        folder: ``FLEET_DIR/blobs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a private folder for incoming bytes; what was not adopted is gone afterwards."""
        files.private_folder(self._folder)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=self._folder) as folder:
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

    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already."""
        target = self._path(staged.sha256)
        if target.exists():
            return False
        files.private_folder(target.parent)
        staged.path.chmod(0o600)
        staged.path.replace(target)
        return True

    def put(self, stream: BinaryIO, limit: int) -> tuple[str, int]:
        """Keep a stream that is already believed; return its SHA-256 and size."""
        with self.staging() as folder:
            staged = self.stage(stream, folder, "0", limit)
            self.adopt(staged)
        return staged.sha256, staged.size

    def open(self, sha256: str) -> Path:
        """Return where the bytes of a digest lie.

        Raises:
            BlobNotFoundError: nothing of that digest is kept here.
        """
        path = self._path(sha256)
        if not path.is_file():
            msg = "There is no content with this digest."
            raise BlobNotFoundError(msg)
        return path

    def remove(self, sha256: str) -> None:
        """Forget bytes that nothing refers to."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            msg = "There is no content with this digest."
            raise BlobNotFoundError(msg)
        return self._folder / sha256[:2] / sha256
