"""Return whether bytes are a patch that makes an image of one length, by the head of the patch's own format. Pure.

The row of a patch may be anybody's: one that names the image of another bundle must not make the server give that out.
So the stored bytes decide. Each format names itself and the length of what it makes, and a frame of zstd, which is
what a packed image is too, counts only when it cannot be unpacked without the image that it is made for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import zstandard

from ota.contract import patch
from pki.kernel import cbor
from pki.kernel.errors import InvalidError

#: so many bytes of a patch hold the head of every format
HEAD = 512
#: larger results are not made with zstd (``ota.deltas.candidates``), and none is unpacked here
MOST_FOR_ZSTD = 3 << 20
_BSDIFF, _HDIFF, _LITE = b"BSDIFF40", b"HDIFF13&", b"hI"
#: a sequential patch of detools, packed by heatshrink: the type in the high half of a byte, the packer in the low one
_DETOOLS = 0x04
_MOST_NUMBER = 9


def is_patch(format_: str, data: bytes, size: int, length: int) -> bool:
    """Return whether bytes are a patch that makes an image of one length.

    Args:
        format_: by name; never found out by looking.
        data: the first ``HEAD`` bytes; of zstd all.
        size: of the whole patch, in bytes.
        length: of the image, in bytes, as it is signed.
    """
    try:
        return _CHECKS[format_](data, size, length)
    except (KeyError, IndexError, ValueError, TypeError, InvalidError, zstandard.ZstdError):
        return False


def bytes_needed(format_: str, size: int) -> int:
    """Return how many bytes of a patch ``is_patch`` looks at."""
    return min(size, MOST_FOR_ZSTD if format_ == "zstd" else HEAD)


def _muster(data: bytes, size: int, length: int) -> bool:
    at = len(patch.MAGIC) + 4
    ends = at + int.from_bytes(data[len(patch.MAGIC) : at], "little")
    # untyped: what has another shape raises here, and is no patch
    head: Any = cbor.loads(data[at:ends], max_bytes=patch.MAX_HEAD)
    packed = sum(stream[2] for stream in head[2])
    return data.startswith(patch.MAGIC) and head[0] == length and ends + packed == size


def _bsdiff(data: bytes, size: int, length: int) -> bool:
    control, differences, result = (int.from_bytes(data[at : at + 8], "little") for at in (8, 16, 24))
    return data.startswith(_BSDIFF) and result == length and 32 + control + differences <= size


def _hdiff(data: bytes, _size: int, length: int) -> bool:
    _, _, rest = data[len(_HDIFF) :].partition(b"\0")
    value = 0
    for byte in rest[:_MOST_NUMBER]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return data.startswith(_HDIFF) and value == length
    return False


def _lite(data: bytes, _size: int, length: int) -> bool:
    result = data[4 : 4 + (data[3] & 7)]
    return data.startswith(_LITE) and data[3] >> 6 == 1 and int.from_bytes(result, "little") == length


def _detools(data: bytes, _size: int, length: int) -> bool:
    value, shift = data[1] & 0x3F, 6
    at = 1
    while data[at] & 0x80:
        at += 1
        value |= (data[at] & 0x7F) << shift
        shift += 7
    return data[0] == _DETOOLS and not data[1] & 0x40 and value == length


def _zstd(data: bytes, size: int, length: int) -> bool:
    if len(data) != size or length > MOST_FOR_ZSTD or zstandard.frame_content_size(data) != length:
        return False
    try:
        zstandard.ZstdDecompressor().decompress(data, max_output_size=length)
    except zstandard.ZstdError:
        return True
    return False


_CHECKS: Mapping[str, Callable[[bytes, int, int], bool]] = {
    patch.FORMAT: _muster,
    "bsdiff": _bsdiff,
    "hdiffpatch": _hdiff,
    "hpatchlite-tuz": _lite,
    "detools-heatshrink": _detools,
    "zstd": _zstd,
}
