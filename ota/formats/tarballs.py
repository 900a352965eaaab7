"""Measure archives that a device unpacks with libarchive: every layer of compression, and files with holes."""

import tarfile
from typing import BinaryIO, cast

from ota.errors import RefusedBundleError
from ota.formats import bombs

MOST_ENTRIES = 100_000
_CPIO = (b"070701", b"070702", b"070707", b"\xc7\x71", b"\x71\xc7")


def measure_archive(file: bombs.Readable, budget: bombs.Budget, what: str) -> int:
    """Return what an archive unpacks to, in bytes.

    Args:
        file: a tar or cpio archive, compressed or not, also several times over.
        budget: of the artefact.
        what: for the sentence.

    Raises:
        RefusedBundleError: it is of another kind, compressed in a way that cannot be measured, or too large.
    """
    stream = bombs.Peekable(file)
    for _ in range(bombs.MOST_LAYERS):
        bombs.demand_measurable(stream.head, what)
        compression = bombs.compression_of(stream.head)
        if compression is None:
            return _contents(stream, budget, what)
        stream = bombs.Peekable(bombs.Unpacked(stream, compression, budget, what))
    if bombs.compression_of(stream.head) is None:
        bombs.demand_measurable(stream.head, what)
        return _contents(stream, budget, what)
    msg = f"{what} is compressed more than {bombs.MOST_LAYERS} times over. Pack it once."
    raise RefusedBundleError(msg)


def _contents(stream: bombs.Peekable, budget: bombs.Budget, what: str) -> int:
    """Return the size of the files in an archive that is not compressed (any more)."""
    if stream.head.startswith(_CPIO):
        came = 0
        while data := stream.read(bombs.CHUNK):
            came += len(data)
        return came
    came = entries = 0
    try:
        with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as archive:
            for member in archive:
                entries += 1
                _check(member, entries, what)
                came += member.size
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        msg = f"{what} is no tar or cpio archive: {str(error)[:80]}. Other kinds of archives are not accepted; use tar."
        raise RefusedBundleError(msg) from error
    budget.spend(0, what)
    while stream.read(bombs.CHUNK):
        continue
    return came


def _check(member: tarfile.TarInfo, entries: int, what: str) -> None:
    if member.sparse is not None or member.type == tarfile.GNUTYPE_SPARSE:
        msg = f"{what} holds {member.name[:60]!r}, a file with holes. Pack it without them (no `tar -S`)."
        raise RefusedBundleError(msg)
    if entries > MOST_ENTRIES:
        msg = f"{what} holds more than {MOST_ENTRIES} entries. Ship an image of a file system instead."
        raise RefusedBundleError(msg)
