"""Blobs in a folder: staged while they come in, moved into place by their digest when they are accepted."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ota.blobs.staging import CHUNK, Staged, Staging, StoredBlob, by_descriptor, digest_of_descriptor
from ota.blobs.store import check_digest, is_digest, missing_content
from ota.errors import BlobStoreError
from pki.kernel import files


class LocalBlobs(Staging):
    """Blobs below one folder; see ``store.Blobs``.

    Args:
        folder: ``FLEET_DIR/blobs``.
    """

    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already.

        Raises:
            BlobStoreError: they are not the bytes that came in.
        """
        target = self._path(staged.sha256)
        if _holds(target, staged.sha256):
            return False
        other = target.is_symlink() or target.exists()
        files.private_folder(target.parent)
        with _named(staged, target.parent) as name:
            if other:  # bytes of another digest are there, which belong to no bundle
                name.replace(target)
                return True
            try:
                # A second name, not a move: of two concurrent writers only one may win.
                target.hardlink_to(name)
            except FileExistsError:
                return False
        return True

    def size(self, sha256: str) -> int:
        """Return how many bytes a digest has."""
        return self.path(sha256).stat().st_size

    def path(self, sha256: str) -> Path:
        """Return where the bytes of a digest are stored.

        Raises:
            BlobNotFoundError: nothing of that digest is kept here.
        """
        path = self._path(sha256)
        if not path.is_file():
            raise missing_content()
        return path

    def address(self, sha256: str, seconds: int) -> str:  # noqa: ARG002  because it is a store's
        """Return nothing: these bytes have no address of their own."""
        return ""

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """Yield a part of the bytes."""
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            while length and (data := file.read(min(CHUNK, length))):
                length -= len(data)
                yield data

    @contextmanager
    def at_hand(self, sha256: str) -> Iterator[Path]:
        """Yield a path to the bytes, which were compared with the digest; it is bound to the file, not to its name.

        Raises:
            BlobStoreError: other bytes are stored there.
        """
        with self.path(sha256).open("rb") as file:
            if digest_of_descriptor(file.fileno()) != sha256:
                msg = f"The stored file {sha256} does not match its digest. Restore it from its source."
                raise BlobStoreError(msg)
            yield by_descriptor(file.fileno())

    def remove(self, sha256: str) -> None:
        """Forget bytes that nothing refers to."""
        self._path(sha256).unlink(missing_ok=True)

    def listed(self) -> Iterator[StoredBlob]:
        """Yield everything that is kept."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if is_digest(path.name):
                facts = path.stat()
                yield StoredBlob(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def open(self) -> None:
        """Do nothing: files are opened when they are asked for."""

    def _path(self, sha256: str) -> Path:
        return self._folder / check_digest(sha256)[:2] / sha256


def _holds(path: Path, sha256: str) -> bool:
    """Return whether a file is there and holds the bytes of a digest."""
    try:
        with files.open_plain(path) as file:
            return digest_of_descriptor(file.fileno()) == sha256
    except OSError:
        return False


@contextmanager
def _named(staged: Staged, folder: Path) -> Iterator[Path]:
    """Give staged bytes a name in a folder, hashed as they are there; the name is removed afterwards."""
    staged.demand_unchanged()
    name = folder / f".{secrets.token_hex(16)}.new"
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            # With a folder's descriptor Python calls linkat, which follows the link in /proc to the file itself.
            os.link(staged.path, name.name, dst_dir_fd=descriptor, follow_symlinks=True)
        except OSError:  # a file system without O_TMPFILE, or another one than the folder's
            _copy(staged, name)
        yield name
        os.fsync(descriptor)
    finally:
        name.unlink(missing_ok=True)
        os.close(descriptor)


def _copy(staged: Staged, name: Path) -> None:
    digest = hashlib.sha256()
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as target, staged.path.open("rb") as source:
        while part := source.read(CHUNK):
            digest.update(part)
            target.write(part)
        target.flush()
        os.fsync(target.fileno())
    if digest.hexdigest() != staged.sha256:
        msg = "The file changed between verification and storage, so it is rejected. Upload it again."
        raise BlobStoreError(msg)
