"""Read tar archives that strangers made: plain files with plain names, in order, and never onto the disk."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ota.errors import RefusedBundleError

MOST_MEMBERS = 256
#: content may be so many times larger than its archive
MOST_RATIO = 100
SLACK = 1 << 20
CHUNK, BLOCK = 1 << 16, 512


def members(file: BinaryIO, what: str) -> Iterator[tuple[str, BinaryIO, int]]:
    """Yield (name, content, size) of each member; read the content before the next one.

    Raises:
        RefusedBundleError: no tar archive, a link or device, a name that climbs, or too many members.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                _check(member, seen, what)
                content = archive.extractfile(member)
                if content is not None:
                    yield member.name, content, member.size  # type: ignore[misc]  # IO[bytes] is all that is needed
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        msg = f"{what} is no whole tar archive: {str(error)[:100]}"
        raise RefusedBundleError(msg) from error


def demand_nothing_else(file: BinaryIO, what: str) -> None:
    """Refuse bytes of a tar archive that belong to no member: its padding and its end are zeros, and whole blocks.

    Raises:
        RefusedBundleError: something stands there that nobody signed.
    """
    at, size = 0, file.seek(0, 2)
    while at + BLOCK <= size:
        file.seek(at)
        head = file.read(BLOCK)
        if not head.strip(b"\0"):
            break
        if head[257:262] != b"ustar":
            msg = f"{what} is followed by bytes that nobody signed."
            raise RefusedBundleError(msg)
        length = int(head[124:136].rstrip(b"\0 ") or b"0", 8)
        file.seek(at + BLOCK + length)
        padding = -length % BLOCK
        if file.read(padding).strip(b"\0"):
            msg = f"{what} holds bytes between its members that nobody signed."
            raise RefusedBundleError(msg)
        at += BLOCK + length + padding
    file.seek(min(at, size))
    if size % BLOCK or any(chunk.strip(b"\0") for chunk in iter(lambda: file.read(CHUNK), b"")):
        msg = f"{what} is followed by bytes that nobody signed, or cut off."
        raise RefusedBundleError(msg)
    file.seek(0)


def _check(member: tarfile.TarInfo, seen: set[str], what: str) -> None:
    parts = member.name.split("/")
    if not member.isreg():
        msg = f"{what} holds {member.name[:60]!r}, which is a link or no plain file; only plain files are accepted."
        raise RefusedBundleError(msg)
    if any(part in {"", ".", ".."} for part in parts) or "\\" in member.name or not member.name.isprintable():
        msg = f"{what} holds the name {member.name[:60]!r}, which is refused: plain relative names only."
        raise RefusedBundleError(msg)
    if member.name in seen or len(seen) >= MOST_MEMBERS:
        msg = f"{what} holds {member.name[:60]!r} twice, or more than {MOST_MEMBERS} members."
        raise RefusedBundleError(msg)
    seen.add(member.name)


class Bounded:
    """A gzip stream that ends in a refusal when it grows beyond all measure.

    Args:
        file: compressed.
        size: of the compressed stream, in bytes.
        what: for the sentence.
    """

    def __init__(self, file: BinaryIO, size: int, what: str) -> None:
        self._stream, self._what = gzip.GzipFile(fileobj=file), what
        self._left = size * MOST_RATIO + SLACK

    def drain(self) -> None:
        """Read to the end, so that the stream's own check sum is compared.

        Raises:
            RefusedBundleError: it does not fit, or the stream has no end.
        """
        while self.read(CHUNK):
            pass

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes.

        Raises:
            RefusedBundleError: more came than any honest archive of this size holds.
        """
        try:
            data = self._stream.read(CHUNK if size < 0 else min(size, CHUNK))
        except (OSError, EOFError, zlib.error) as error:
            msg = f"{self._what} is damaged: {str(error)[:100]}"
            raise RefusedBundleError(msg) from error
        self._left -= len(data)
        if self._left < 0:
            msg = f"{self._what} unpacks to more than {MOST_RATIO} times its size and is refused."
            raise RefusedBundleError(msg)
        return data
