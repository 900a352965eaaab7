"""Apply a patch in Muster's own format: bsdiff's idea, its streams in columns, each packed by what suits it.

Layout: ``MSP1``, length of the head (4 bytes, little endian), head (CBOR), streams. The head is ``[length of the
result, 1 if sparse, [[codec, length, packed length, parameter] …]]``. Streams, numbers as LEB128: ``copies`` (bytes
of the base to which differences are added), ``inserts`` (new bytes that follow), ``seeks`` (zigzag steps in the base),
then the differences (``sparse``: gaps between those that are not zero, and their values; else all of them), then the
new bytes.

Only what Python's standard library unpacks, and every number in it is hostile: bounded by what was signed.
"""

import bz2
import itertools
import lzma
from collections.abc import Iterator

import cbor2

from pki.kernel import cbor, intake
from pki.kernel.errors import InvalidError

MAGIC = b"MSP1"
FORMAT = "muster-1"
RAW, LZMA, BZIP2 = 0, 1, 2
MAX_HEAD = 256
#: dictionary of the packer: what a device needs beside base, patch and result
DICTIONARY = 1 << 24
_DENSE_STREAMS, _SPARSE_STREAMS = 5, 6
_HEAD = len(MAGIC) + 4
#: small images may have columns that are longer than they are
SLACK = 4096
_BAD = (
    cbor2.CBORError, lzma.LZMAError, OSError, EOFError, ValueError, TypeError, IndexError, KeyError, ArithmeticError,
    MemoryError, InvalidError,
)  # fmt: skip


def apply_patch(base: bytes, patch: bytes, length: int) -> bytes:
    """Return the result; the caller compares its hash.

    Args:
        base: what the patch was made against; the caller has compared its hash.
        patch: as it came.
        length: of the result, as people signed it.

    Raises:
        InvalidError: malformed, or it would give anything else than so many bytes.
    """
    try:
        sparse, streams = _opened(patch, length)
        steps = zip(*(_numbers(stream) for stream in streams[:3]), strict=True)
        differ = _Sparse(streams[3], streams[4]) if sparse else _Dense(streams[3])
        return _patched(base, length, steps, differ, memoryview(streams[-1]))
    except _BAD as error:
        msg = f"The patch is damaged or does not match this image: {type(error).__name__}."
        raise InvalidError(msg) from error


def lzma_filters(parameter: int) -> list[dict[str, int]]:
    """Return the raw LZMA filter chain of a parameter: ``pb * 45 + lp * 9 + lc``, as in LZMA's own header."""
    if not 0 <= parameter < 225:  # noqa: PLR2004  because LZMA has no more
        raise ValueError(parameter)
    rest, lc = divmod(parameter, 9)
    pb, lp = divmod(rest, 5)
    return [{"id": lzma.FILTER_LZMA1, "dict_size": DICTIONARY, "lc": lc, "lp": lp, "pb": pb}]


def _opened(patch: bytes, length: int) -> tuple[bool, list[bytes]]:
    size = int.from_bytes(patch[len(MAGIC) : _HEAD], "little")
    if patch[: len(MAGIC)] != MAGIC or size > MAX_HEAD:
        raise ValueError(size)
    result, sparse, listed = intake.list_of(cbor.loads(patch[_HEAD : _HEAD + size], max_bytes=MAX_HEAD), "head")
    rows = [_row(item) for item in intake.list_of(listed, "streams")]
    if result != length or len(rows) != (_SPARSE_STREAMS if sparse else _DENSE_STREAMS):
        raise ValueError(listed)
    at, streams = _HEAD + size, []
    columns = [length + SLACK] * 3
    limits = [*columns, 2 * length + SLACK, length, length] if sparse else [*columns, length, length]
    for (codec, whole, packed, parameter), most in zip(rows, limits, strict=True):
        if not (0 <= whole <= most and 0 <= packed <= len(patch) - at):
            raise ValueError(whole)
        streams.append(_unpacked(codec, patch[at : at + packed], whole, parameter))
        at += packed
    if at != len(patch):
        raise ValueError(at)
    return bool(sparse), streams


def _row(value: object) -> tuple[int, int, int, int]:
    """Return codec, whole length, packed length and parameter of a stream, as the head lists them."""
    match value:
        case [int(codec), int(whole), int(packed), int(parameter)]:
            return codec, whole, packed, parameter
    raise ValueError(value)


def _unpacked(codec: int, data: bytes, whole: int, parameter: int) -> bytes:
    """Return a stream of exactly the length that its head says; no more is ever unpacked."""
    if codec == RAW:
        unpacked = data
    elif codec == LZMA:
        unpacked = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma_filters(parameter)).decompress(data, whole + 1)
    elif codec == BZIP2:
        unpacked = bz2.BZ2Decompressor().decompress(data, whole + 1)
    else:
        raise ValueError(codec)
    if len(unpacked) != whole:
        raise ValueError(len(unpacked))
    return unpacked


def _numbers(data: bytes) -> Iterator[int]:
    value, shift = 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value, shift = 0, 0
        elif shift > 63:  # noqa: PLR2004  because no length has more bits
            raise ValueError(shift)
    if shift:
        raise ValueError(shift)


class _Dense:
    """All differences, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def add(self, part: bytearray) -> None:
        own = self._data[self._at : self._at + len(part)]
        if len(own) != len(part):
            raise ValueError(len(own))
        self._at += len(part)
        if own.strip(b"\0"):
            part[:] = bytes((number + other) & 0xFF for number, other in zip(part, own, strict=True))


class _Sparse:
    """The positions and values of the differences that are not zero."""

    def __init__(self, gaps: bytes, values: bytes) -> None:
        places = itertools.accumulate(gap + 1 for gap in _numbers(gaps))
        self._next = zip((position - 1 for position in places), values, strict=True)
        self._waiting = next(self._next, None)
        self._at = 0

    def add(self, part: bytearray) -> None:
        end = self._at + len(part)
        while self._waiting is not None and self._waiting[0] < end:
            position, value = self._waiting
            part[position - self._at] = (part[position - self._at] + value) & 0xFF
            self._waiting = next(self._next, None)
        self._at = end


def _patched(
    base: bytes, length: int, steps: Iterator[tuple[int, ...]], differ: _Dense | _Sparse, new: memoryview
) -> bytes:
    out, at, used, steps_left = bytearray(), 0, 0, length + SLACK
    for copy, insert, seek in steps:
        steps_left -= 1
        if (
            not steps_left
            or len(out) + copy + insert > length
            or not 0 <= at <= at + copy <= len(base)
            or used + insert > len(new)
        ):
            raise ValueError(at)
        part = bytearray(base[at : at + copy])
        differ.add(part)
        out += part
        out += new[used : used + insert]
        used += insert
        at += copy + (seek >> 1 ^ -(seek & 1))
    if len(out) != length or used != len(new):
        raise ValueError(len(out))
    return bytes(out)
