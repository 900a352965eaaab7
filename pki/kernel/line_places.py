"""Positions between the lines of an append-only file: stored, recognised later, and resumed from."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: bytes that are read at once in search of a line's beginning
BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class LinePlace:
    """A place behind a whole line of a file, and how the file is recognised that is the same up to there.

    Args:
        inode: the file's number on its disk; a copy of the file has another one.
        end: bytes from the file's beginning to the place.
        length: bytes of the line before the place, with its line break.
        digest: hex SHA-256 of that line.
    """

    inode: int
    end: int
    length: int
    digest: str


def last_place(path: Path, limit: int | None = None) -> LinePlace | None:
    """Return the last place behind a whole line of a file; None where there is no file or no such line.

    Args:
        path: of a file that only grows; a line without its line break is still being written, or was cut.
        limit: bytes from the beginning after which no place is wanted.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        there = os.fstat(file.fileno())
        size = there.st_size if limit is None else min(there.st_size, limit)
        end = _break_before(file, size)
        begin = _break_before(file, end - 1)
        if end == 0:
            return None
        return LinePlace(there.st_ino, end, end - begin, _digest(file, begin, end - begin))


def is_unchanged(path: Path, place: LinePlace) -> bool:
    """Return whether the same file still has the same line before a place."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        there = os.fstat(file.fileno())
        if there.st_ino != place.inode or there.st_size < place.end:
            return False
        begin = place.end - place.length
        whole = begin == 0 or os.pread(file.fileno(), 1, begin - 1) == b"\n"
        return whole and _digest(file, begin, place.length) == place.digest


def _break_before(file: BinaryIO, end: int) -> int:
    """Return the offset after the last line break in the first ``end`` bytes; 0 if there is none."""
    while end > 0:
        begin = max(0, end - BLOCK)
        offset = os.pread(file.fileno(), end - begin, begin).rfind(b"\n")
        if offset >= 0:
            return begin + offset + 1
        end = begin
    return 0


def _digest(file: BinaryIO, begin: int, length: int) -> str:
    digest = hashlib.sha256()
    while length > 0 and (piece := os.pread(file.fileno(), min(length, BLOCK), begin)):
        digest.update(piece)
        begin, length = begin + len(piece), length - len(piece)
    return digest.hexdigest()
