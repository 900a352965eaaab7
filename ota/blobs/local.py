"""Blobs in a folder: staged while they come in, moved into place by their digest when they are accepted."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ota.blobs.staging import CHUNK, Kept, Staged, Staging
from ota.blobs.store import checked, is_digest, missing
from pki.kernel import files


class LocalBlobs(Staging):
    """Blobs below one folder; see ``store.Blobs``.

    Args:
        folder: ``FLEET_DIR/blobs``.
    """

    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already."""
        target = self._path(staged.sha256)
        if target.exists():
            return False
        files.private_folder(target.parent)
        staged.path.chmod(0o600)
        try:
            # A second name, not a move: of two that come at once only one may believe that it was first.
            target.hardlink_to(staged.path)
        except FileExistsError:
            return False
        return True

    def size(self, sha256: str) -> int:
        """Return how many bytes a digest has."""
        return self.path(sha256).stat().st_size

    def path(self, sha256: str) -> Path:
        """Return where the bytes of a digest lie.

        Raises:
            BlobNotFoundError: nothing of that digest is kept here.
        """
        path = self._path(sha256)
        if not path.is_file():
            raise missing()
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
        """Yield where the bytes lie."""
        yield self.path(sha256)

    def remove(self, sha256: str) -> None:
        """Forget bytes that nothing refers to."""
        self._path(sha256).unlink(missing_ok=True)

    def listed(self) -> Iterator[Kept]:
        """Yield everything that is kept."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if is_digest(path.name):
                facts = path.stat()
                yield Kept(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def open(self) -> None:
        """Do nothing: files are opened when they are asked for."""

    def _path(self, sha256: str) -> Path:
        return self._folder / checked(sha256)[:2] / sha256
