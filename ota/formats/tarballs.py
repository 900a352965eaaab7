"""Measure archives that a device unpacks with libarchive: every layer, and files with holes in full.

Sources: libarchive's ``tar(5)`` and ``cpio(5)``, which list the formats that it reads.
"""

import tarfile
from typing import BinaryIO, cast

from ota.errors import RefusedBundleError
from ota.formats import bombs, cpio_entries

MOST_ENTRIES = 100_000


def measure_archive(file: bombs.Readable, budget: bombs.UnpackingBudget, what: str) -> int:
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


def _contents(stream: bombs.Peekable, budget: bombs.UnpackingBudget, what: str) -> int:
    """Return the size of the files in an archive that is not compressed (any more)."""
    if stream.head.startswith(cpio_entries.MAGICS) and stream.head[257:262] != b"ustar":
        return cpio_entries.measure_entries(stream, MOST_ENTRIES, what)
    came = entries = 0
    try:
        with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as archive:
            for member in archive:
                entries += 1
                if entries > MOST_ENTRIES:
                    msg = f"{what} holds more than {MOST_ENTRIES} entries. Ship an image of a file system instead."
                    raise RefusedBundleError(msg)
                if member.sparse is not None:  # a file with holes, which is larger than what is in the archive of it
                    budget.spend(max(member.size, 0), f"{what} with {member.name[:60]!r}")
                came += member.size
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        msg = (
            f"{what} is not a tar or cpio archive: {str(error)[:80]}. Other kinds of archives are not accepted; use "
            "tar."
        )
        raise RefusedBundleError(msg) from error
    while stream.read(bombs.CHUNK):
        continue
    return came
