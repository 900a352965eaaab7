"""Count the entries of a cpio archive as it streams by: the four kinds that libarchive unpacks on a device.

Source: libarchive's ``cpio(5)``: new ASCII (``newc`` and ``crc``), portable ASCII (``odc``) and both byte orders of the
old binary kind.
"""

import struct
from dataclasses import dataclass
from typing import NoReturn

from ota.errors import RefusedBundleError
from ota.formats import bombs

_LITTLE, _BIG = b"\xc7\x71", b"\x71\xc7"
MAGICS = (b"070701", b"070702", b"070707", _LITTLE, _BIG)
_TRAILER, _LONGEST_NAME = b"TRAILER!!!", 4096


@dataclass(frozen=True, slots=True)
class _Head:
    """What a header says: sizes in bytes, and to what name and content are padded."""

    header: int
    name: int
    content: int
    padding: int


def measure_entries(stream: bombs.Readable, most: int, what: str) -> int:
    """Return the size of a cpio archive, in bytes.

    Args:
        stream: the archive, not compressed (any more).
        most: entries that are accepted.
        what: for the sentence.

    Raises:
        RefusedBundleError: it is cut off or malformed, or has more entries.
    """
    source = _Counted(stream, what)
    for _ in range(most + 1):  # and the trailer
        head = _read_head(source, what)
        name = source.take(head.name)
        source.skip(-(head.header + head.name) % head.padding)
        if name.rstrip(b"\0") == _TRAILER:
            while data := stream.read(bombs.CHUNK):
                source.came += len(data)
            return source.came
        source.skip(head.content + -head.content % head.padding)
    msg = f"{what} holds more than {most} entries. Ship an image of a file system instead."
    raise RefusedBundleError(msg)


class _Counted:
    """A stream that is read whole pieces at a time."""

    def __init__(self, stream: bombs.Readable, what: str) -> None:
        self._stream, self._what, self.came = stream, what, 0

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        data = b""
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                _malformed(self._what, "it is truncated")
            data += more
        self.came += size
        return data

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size:
            size -= len(self.take(min(size, bombs.CHUNK)))


def _read_head(source: _Counted, what: str) -> _Head:
    magic = source.take(2)
    if magic in {_LITTLE, _BIG}:
        fields = struct.unpack(("<" if magic == _LITTLE else ">") + "12H", source.take(24))
        return _checked(_Head(26, fields[9], fields[10] << 16 | fields[11], 2), what)
    magic += source.take(4)
    if magic == b"070707":
        rest = source.take(70)
        return _checked(_Head(76, _number(rest[53:59], 8, what), _number(rest[59:70], 8, what), 1), what)
    if magic not in MAGICS:
        _malformed(what, "no header where an entry begins")
    rest = source.take(104)
    return _checked(_Head(110, _number(rest[88:96], 16, what), _number(rest[48:56], 16, what), 4), what)


def _checked(head: _Head, what: str) -> _Head:
    if not 0 < head.name <= _LONGEST_NAME:
        _malformed(what, f"a name of {head.name} bytes")
    return head


def _number(text: bytes, base: int, what: str) -> int:
    if not text.isalnum():  # int() takes spaces, signs and underscores too
        _malformed(what, "a size that is not a number")
    try:
        return int(text, base)
    except ValueError:
        _malformed(what, "a size that is not a number")


def _malformed(what: str, why: str) -> NoReturn:
    msg = f"{what} is not a complete cpio archive: {why}. Pack it again."
    raise RefusedBundleError(msg)
