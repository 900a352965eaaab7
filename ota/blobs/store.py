"""What every store of blobs promises: content by its SHA-256, streamed, written once."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from ota.blobs.staging import Area, Staged, StoredBlob
from ota.errors import BlobNotFoundError

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """A store. No name that someone else chose ever becomes a path or a key."""

    def staging(self) -> AbstractContextManager[Area]:
        """Yield where bytes may come in; what was not adopted is gone afterwards."""

    def sweep(self, before: float) -> int:
        """Remove staging folders that a killed process left, older than a Unix time; return how many."""

    def stage(self, stream: BinaryIO, area: Area, limit: int) -> Staged:
        """Copy a stream into a file without a name and hash it on the way; raise ``TooLargeError`` above the limit."""

    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already."""

    def put(self, stream: BinaryIO, limit: int) -> tuple[str, int]:
        """Keep a stream that is already verified; return its SHA-256 and size."""

    def size(self, sha256: str) -> int:
        """Return how many bytes a digest has; raise ``BlobNotFoundError`` when nothing of it is kept."""

    def path(self, sha256: str) -> Path | None:
        """Return the path of the bytes on this machine, or None when they are stored elsewhere."""

    def address(self, sha256: str, seconds: int) -> str:
        """Return a web address that gives the bytes away for some seconds, or nothing; it is a secret."""

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """Yield a part of the bytes in chunks; they are what the store says, so compare them before use."""

    def at_hand(self, sha256: str) -> AbstractContextManager[Path]:
        """Yield a file of this machine with the whole bytes; what comes from elsewhere was compared."""

    def remove(self, sha256: str) -> None:
        """Forget bytes that nothing refers to."""

    def listed(self) -> Iterator[StoredBlob]:
        """Yield everything that is kept, in no order."""

    def open(self) -> None:
        """Load what answering needs, before a process gives up reading files."""


def check_digest(sha256: str) -> str:
    """Return a digest that is one.

    Raises:
        BlobNotFoundError: it is none, so nothing is kept under it.
    """
    if not is_digest(sha256):
        raise missing_content()
    return sha256


def is_digest(text: str) -> bool:
    """Return whether a text is a SHA-256 in hex."""
    return _DIGEST.fullmatch(text) is not None


def missing_content() -> BlobNotFoundError:
    """Return the error for content that is not kept."""
    return BlobNotFoundError("There is no content with this digest.")
