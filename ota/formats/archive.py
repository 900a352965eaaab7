"""Read tar archives that strangers made: plain files with plain names, in order, and never onto the disk.

Source: the ustar format of POSIX (IEEE Std 1003.1, ``pax``): headers and content in blocks of 512 bytes, sizes in octal
digits, two blocks of zeros at the end. Python's ``tarfile`` reads it; what it skips is checked here.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ota.errors import RefusedBundleError

MOST_MEMBERS = 1000
CHUNK, BLOCK = 1 << 16, 512
_OCTAL = re.compile(rb"[0-7]{1,12}")


def archive_members(file: BinaryIO, what: str) -> Iterator[tuple[str, BinaryIO, int]]:
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
        msg = f"{what} is not a complete tar archive: {str(error)[:100]}"
        raise RefusedBundleError(msg) from error


def demand_nothing_else(file: BinaryIO, what: str) -> None:
    """Refuse bytes of a tar archive that belong to no member: its padding and its end are zeros, and whole blocks.

    Raises:
        RefusedBundleError: there are unsigned bytes.
    """
    at, size = 0, file.seek(0, 2)
    while at + BLOCK <= size:
        file.seek(at)
        head = file.read(BLOCK)
        if not head.strip(b"\0"):
            break
        if head[257:262] != b"ustar":
            msg = f"{what} is followed by unsigned bytes."
            raise RefusedBundleError(msg)
        length = _octal(head[124:136], what)
        file.seek(at + BLOCK + length)
        padding = -length % BLOCK
        if file.read(padding).strip(b"\0"):
            msg = f"{what} has unsigned bytes between its members."
            raise RefusedBundleError(msg)
        at += BLOCK + length + padding
    file.seek(min(at, size))
    if size % BLOCK or any(chunk.strip(b"\0") for chunk in iter(lambda: file.read(CHUNK), b"")):
        msg = f"{what} is truncated or followed by unsigned bytes."
        raise RefusedBundleError(msg)
    file.seek(0)


def _octal(field: bytes, what: str) -> int:
    """Return a size in a header as POSIX writes it: octal digits; ``int`` would take signs and underscores too."""
    digits = field.strip(b"\0 ") or b"0"
    if not _OCTAL.fullmatch(digits):
        msg = f"{what} has a member whose size is not an octal number. Write it as a POSIX tar archive."
        raise RefusedBundleError(msg)
    return int(digits, 8)


def _check(member: tarfile.TarInfo, seen: set[str], what: str) -> None:
    parts = member.name.split("/")
    if not member.isreg():
        msg = f"{what} holds {member.name[:60]!r}, which is not a regular file; only regular files are accepted."
        raise RefusedBundleError(msg)
    if any(part in {"", ".", ".."} for part in parts) or "\\" in member.name or not member.name.isprintable():
        msg = f"{what} holds the name {member.name[:60]!r}, which is rejected: names must be plain relative paths."
        raise RefusedBundleError(msg)
    if member.name in seen:
        msg = f"{what} holds {member.name[:60]!r} twice. Remove one."
        raise RefusedBundleError(msg)
    if len(seen) >= MOST_MEMBERS:
        msg = f"{what} holds more than {MOST_MEMBERS} files. Pack them into one archive."
        raise RefusedBundleError(msg)
    seen.add(member.name)
