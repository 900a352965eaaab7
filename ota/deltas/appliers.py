"""Apply patches of other people's formats, never to more than the signed length.

Their libraries trust what a patch says of its result: a few hundred bytes would make them fill gigabytes. Each
function here reads the length first, from the format's own head, and gives the rest to the library only if it is right.
"""

import bz2
import io

import bsdiff4.core
import detools
import detools.apply
import hdiffpatch
import zstandard
from detools.common import unpack_size

from pki.kernel.errors import InvalidError

#: zstd needs the base in its window
WINDOW = 27
_BSDIFF, _HDIFF = b"BSDIFF40", b"HDIFF13&"
_HEATSHRINK = "heatshrink"
#: magic, packer (none or tinyuz), version in the two highest bits and the bytes of two numbers in the others
_LITE, _LITE_PACKERS, _LITE_HEAD, _SLACK = b"hI", {0, 1}, 4, 1 << 10
#: a triple of bsdiff has 24 bytes; its matches are longer than 8 bytes, so that there are no more of them than that
_TRIPLE, _MATCH, _FEW = 24, 8, 64
_MOST_NAME, _MOST_NUMBER = 32, 9


def apply_bsdiff(old: bytes, data: bytes, length: int) -> bytes:
    """Apply a patch as bsdiff 4 writes it: a head of 32 bytes and three bzip2 streams.

    Args:
        old: the image that it is made for.
        data: the patch.
        length: of the result, in bytes, as it is signed.

    Raises:
        InvalidError: it says another length, or one of its streams would be longer than that length allows.
    """
    if data[:8] != _BSDIFF or len(data) < 32:  # noqa: PLR2004  because the head has 32 bytes
        raise InvalidError("this is not a bsdiff patch")
    control, differences, says = (bsdiff4.core.decode_int64(data[at : at + 8]) for at in (8, 16, 24))
    _same(says, length)
    if min(control, differences) < 0:
        raise InvalidError("a stream of the patch has a negative length")
    ends = 32, 32 + control, 32 + control + differences
    streams = data[ends[0] : ends[1]], data[ends[1] : ends[2]], data[ends[2] :]
    mosts = _TRIPLE * (length // _MATCH + _FEW), length, length
    return bytes(bsdiff4.core.patch(old, length, *map(_unpacked, streams, mosts)))


def apply_hdiff(old: bytes, data: bytes, length: int) -> bytes:
    """Apply a patch of HDiffPatch (HDIFF13). Arguments and errors as for ``apply_bsdiff``."""
    name, found, _ = data[len(_HDIFF) : len(_HDIFF) + _MOST_NAME].partition(b"\0")
    if not data.startswith(_HDIFF) or not found:
        raise InvalidError("this is not a patch of HDiffPatch")
    _same(_number(data[len(_HDIFF) + len(name) + 1 :]), length)
    return _whole(bytes(hdiffpatch.apply(old, data)), length)


def apply_hpatchlite(old: bytes, data: bytes, length: int) -> bytes:
    """Apply a patch of HPatchLite, packed by tinyuz or not at all. Arguments and errors as for ``apply_bsdiff``."""
    if not data.startswith(_LITE) or len(data) < _LITE_HEAD or data[2] not in _LITE_PACKERS or data[3] >> 6 != 1:
        raise InvalidError("this is not a supported HPatchLite patch")
    new, unpacked = data[3] & 7, data[3] >> 3 & 7
    ends = _LITE_HEAD + new, _LITE_HEAD + new + unpacked
    _same(int.from_bytes(data[_LITE_HEAD : ends[0]], "little"), length)
    if len(data) < ends[1] or int.from_bytes(data[ends[0] : ends[1]], "little") > 2 * length + _SLACK:
        raise InvalidError("a stream of the patch is longer than its result allows")
    return _whole(bytes(hdiffpatch.apply_lite(old, data)), length)


def in_detools(old: bytes, data: bytes, length: int) -> bytes:
    """Apply a sequential patch of detools. Arguments and errors as for ``apply_bsdiff``."""
    stream = io.BytesIO(data)
    try:
        packer, says = detools.apply.read_header_sequential(stream)
        _same(says, length)
        # Before the differences is the size of other data, which the library unpacks completely, however large.
        more = unpack_size(detools.apply.PatchReader(stream, packer)) if packer == _HEATSHRINK and length else 0
    except (detools.Error, ValueError, OverflowError) as error:
        msg = f"this is not a sequential patch of detools: {error}"
        raise InvalidError(msg) from None
    if packer != _HEATSHRINK or more:
        msg = "only patches compressed with heatshrink and without data before the differences are supported"
        raise InvalidError(msg)
    out = io.BytesIO()
    detools.apply_patch(io.BytesIO(old), io.BytesIO(data), out)
    return _whole(out.getvalue(), length)


def apply_zstd(old: bytes, data: bytes, length: int) -> bytes:
    """Unpack a frame of zstd with the old image as its dictionary. Arguments and errors as for ``apply_bsdiff``."""
    try:
        # The library takes what the frame says for its limit, and only without that the limit it is given.
        _same(zstandard.frame_content_size(data), length)
    except zstandard.ZstdError as error:
        raise InvalidError(f"this is not a frame of zstd: {error}") from None
    known = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    reader = zstandard.ZstdDecompressor(dict_data=known, max_window_size=1 << WINDOW)
    return _whole(reader.decompress(data, max_output_size=length), length)


def _same(says: int, length: int) -> None:
    if says != length:
        raise InvalidError(f"the patch produces {says} bytes, but the signed image has {length}")


def _whole(result: bytes, length: int) -> bytes:
    _same(len(result), length)
    return result


def _unpacked(stream: bytes, most: int) -> bytes:
    out = bz2.BZ2Decompressor()
    plain = out.decompress(stream, max_length=most + 1)
    if len(plain) > most:
        raise InvalidError("a stream of the patch is longer than its result allows")
    return plain


def _number(data: bytes) -> int:
    """Read a number of HDiffPatch: seven bits a byte, the highest first, and a bit for "more"."""
    value = 0
    for byte in data[:_MOST_NUMBER]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value
    raise InvalidError("the length in the patch header is not terminated")
