"""Advice for authors of images that hardly compress: patches between such images are nearly useless."""

import zlib
from pathlib import Path

LEAST_IMAGE = 1 << 16
SAMPLES, SAMPLE = 16, 1 << 16
#: share of its size that a sample keeps when it is packed, from which on it counts as packed already
PACKED = 0.97
_KINDS = ((b"\x1f\x8b", "a gzip stream"), (b"\xfd7zXZ", "an xz stream"), (b"\x28\xb5\x2f\xfd", "a zstd stream"),
          (b"BZh", "a bzip2 stream"), (b"hsqs", "a compressed squashfs"))  # fmt: skip


def of_file(image: Path) -> str:
    """Return a sentence for the author, or nothing; samples from the whole image are packed, never all of it.

    Args:
        image: as it was uploaded.
    """
    size = image.stat().st_size
    if size < LEAST_IMAGE:
        return ""
    with image.open("rb") as file:
        head = file.read(8)
        came = kept = 0
        for number in range(SAMPLES):
            file.seek(max(size - SAMPLE, 0) * number // (SAMPLES - 1))
            data = file.read(SAMPLE)
            came, kept = came + len(data), kept + len(zlib.compress(data, 6))
    if kept < PACKED * came:
        return ""
    kind = next((name for magic, name in _KINDS if head.startswith(magic)), "packed or encrypted content")
    return (
        f"It is {kind}, so patches save almost nothing. Build it without compression; the server compresses it for the "
        "download."
    )
