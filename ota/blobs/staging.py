"""Where bytes wait for verification: on this machine, in files without a name, for every kind of store.

An upload is hashed, verified and stored through one descriptor. It has no path, so it cannot be replaced between
the three (open(2), O_TMPFILE).
"""

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ota.errors import BlobStoreError, TooLargeError
from pki.kernel import files

CHUNK = 256 * 1024
_PREFIX = ".staging-"


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that came in and wait for a verdict.

    Args:
        descriptor: of the file without a name, for reading; closed when the staging ends.
        size: in bytes.
        sha256: hex; the name under which they would be kept.
        sha1: hex; DDI clients ask for it.
        md5: hex; DDI clients ask for it.
    """

    descriptor: int
    size: int
    sha256: str
    sha1: str
    md5: str

    @property
    def path(self) -> Path:
        """Return a path by which this process opens the same bytes; it is bound to the file, not to a name."""
        return by_descriptor(self.descriptor)

    def demand_unchanged(self) -> None:
        """Hash the bytes once more, as they are kept now.

        Raises:
            BlobStoreError: they are not the ones that came in.
        """
        if digest_of_descriptor(self.descriptor) != self.sha256:
            msg = "The file changed between verification and storage, so it is rejected. Upload it again."
            raise BlobStoreError(msg)


@dataclass(frozen=True, slots=True)
class Area:
    """One piece of staging.

    Args:
        folder: private, and gone afterwards.
        held: closes what was opened.
    """

    folder: Path
    held: ExitStack

    def nameless(self) -> tuple[int, int]:
        """Return a new file's descriptors for writing and for reading; it has no name in any folder."""
        try:
            written = os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
                raise
            name = self.folder / secrets.token_hex(16)  # a file system without O_TMPFILE
            written = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            name.unlink()
        try:
            read = os.open(by_descriptor(written), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(written)
            raise
        self.held.callback(os.close, read)
        return written, read


@dataclass(frozen=True, slots=True)
class StoredBlob:
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
        for path in self._folder.glob(f"{_PREFIX}*"):
            with suppress(FileNotFoundError):  # its upload has just ended
                if path.stat().st_mtime < before:
                    shutil.rmtree(path, ignore_errors=True)
                    swept += 1
        return swept

    @contextmanager
    def staging(self) -> Iterator[Area]:
        """Yield where bytes may come in; what was not adopted is gone afterwards."""
        files.private_folder(self._folder)
        with ExitStack() as held:
            # Files that appear in the folder while it is removed are left to ``sweep``: the upload itself is done.
            temporary = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._folder, ignore_cleanup_errors=True)
            folder = held.enter_context(temporary)
            yield Area(Path(folder), held)

    def stage(self, stream: BinaryIO, area: Area, limit: int) -> Staged:
        """Copy a stream into a file without a name and hash it on the way.

        Args:
            stream: read to its end, or until it exceeds the limit.
            area: of ``staging()``.
            limit: bytes at most.

        Raises:
            TooLargeError: more bytes than ``limit`` came.
        """
        return receive_parts(iter(lambda: stream.read(CHUNK), b""), area, limit)

    def put(self, stream: BinaryIO, limit: int) -> tuple[str, int]:
        """Keep a stream that is already verified; return its SHA-256 and size."""
        with self.staging() as area:
            staged = self.stage(stream, area, limit)
            self.adopt(staged)
        return staged.sha256, staged.size

    @abstractmethod
    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already."""


def receive_parts(parts: Iterator[bytes], area: Area, limit: int) -> Staged:
    """Write parts into a file without a name and hash them on the way; see ``Staging.stage``."""
    sha256, size = hashlib.sha256(), 0
    sha1, md5 = hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    written, read = area.nameless()
    with os.fdopen(written, "wb") as file:
        for part in parts:
            size += len(part)
            if size > limit:
                msg = f"The upload is larger than the {limit} bytes that were declared."
                raise TooLargeError(msg)
            for digest in (sha256, sha1, md5):
                digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return Staged(read, size, sha256.hexdigest(), sha1.hexdigest(), md5.hexdigest())


def by_descriptor(descriptor: int) -> Path:
    """Return the path by which this process opens an open file again."""
    return Path("/proc/self/fd", str(descriptor))


def digest_of_descriptor(descriptor: int) -> str:
    """Return the SHA-256 (hex) of an open file."""
    with by_descriptor(descriptor).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
