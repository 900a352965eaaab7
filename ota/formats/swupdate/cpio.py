"""Read cpio archives as SWUpdate does: ``crc`` (070702) and ``newc`` (070701), in memory, nothing by its name.

Source: the new ASCII format of ``cpio(5)``: a header of 110 bytes in hexadecimal digits, name and data, each padded to
4 bytes; ``crc`` adds the sum of all bytes of the data. SWUpdate's documentation makes archives by ``cpio -H crc``.
"""

from dataclasses import dataclass

import numpy as np

from ota.errors import RefusedBundleError

MAX_MEMBERS = 64
MOST_NAME = 200
_HEADER = 110
_CRC, _NEWC = b"070702", b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """One file of the archive; its data is a part of the archive's, not a copy."""

    name: str
    data: memoryview


class ArchiveWindow:
    """A part of the archive as a file.

    Args:
        data: the part.
    """

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes."""
        end = len(self._data) if size < 0 else self._at + size
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return data


def unpack_cpio(data: bytes) -> list[ArchiveMember]:
    """Return the members, with names, sizes and (in ``crc``) checksums checked.

    Raises:
        RefusedBundleError: cut, doubled, checksums wrong, or a name that could leave a folder.
    """
    members: dict[str, ArchiveMember] = {}
    offset, view = 0, memoryview(data)
    while True:
        name, size, checksum, start = _head(data, offset)
        if name == _TRAILER:
            break
        body = view[start : start + size]
        if len(body) != size or (checksum is not None and _checksum(body) != checksum):
            msg = f"The member {name[:60]!r} is truncated or its checksum is wrong. Make it again with `cpio -H crc`."
            raise RefusedBundleError(msg)
        _demand_name(name)
        if name in members or len(members) >= MAX_MEMBERS:
            msg = f"The archive holds {name[:60]!r} twice, or more than {MAX_MEMBERS} members, and is refused."
            raise RefusedBundleError(msg)
        members[name] = ArchiveMember(name, body)
        offset = _aligned(start + size)
    if data[_aligned(start) :].strip(b"\0"):
        msg = "Bytes follow the end of the archive. Remove them."
        raise RefusedBundleError(msg)
    return list(members.values())


def _checksum(body: memoryview) -> int:
    """Return the sum of all bytes, as ``crc`` archives keep it."""
    return int(np.frombuffer(body, np.uint8).sum(dtype=np.uint64)) & 0xFFFF_FFFF


def _demand_name(name: str) -> None:
    """Refuse names that are no plain file names on a device, or that people cannot read."""
    plain = name.isprintable() and name not in {".", ".."} and name == name.strip() and "\ufffd" not in name
    if not plain or "/" in name or "\\" in name:
        msg = f"The member name {name[:60]!r} is refused: printable UTF-8 without slashes, no space at either end."
        raise RefusedBundleError(msg)


def _head(data: bytes, offset: int) -> tuple[str, int, int | None, int]:
    """Return name, size, checksum and start of the body of the member at an offset; ``newc`` has no checksum."""
    head = data[offset : offset + _HEADER]
    if len(head) != _HEADER or head[:6] not in {_CRC, _NEWC}:
        msg = "The archive is truncated or is not cpio of the type `crc` (070702) or `newc` (070701)."
        raise RefusedBundleError(msg)
    try:
        fields = [int(bytes.fromhex(head[6 + 8 * n : 14 + 8 * n].decode("ascii")).hex(), 16) for n in range(13)]
    except ValueError as error:
        msg = "A header in the archive is malformed."
        raise RefusedBundleError(msg) from error
    size, length, checksum = fields[6], fields[11], fields[12]
    name = data[offset + _HEADER : offset + _HEADER + length]
    if not 1 < length <= MOST_NAME or len(name) != length or name.find(b"\0") != length - 1:
        msg = "A member's name in the archive is malformed."
        raise RefusedBundleError(msg)
    start = _aligned(offset + _HEADER + length)
    return name[:-1].decode("utf-8", "replace"), size, checksum if head[:6] == _CRC else None, start


def _aligned(offset: int) -> int:
    return -(-offset // 4) * 4
