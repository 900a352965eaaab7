"""CBOR (RFC 8949) read strictly: plain values only, bounded, one value and nothing after it.

The library's decoder runs code for tags (dates, patterns, shared and cyclic parts) and lets a later
duplicate key win. What comes from a peer is walked first, and only then decoded.
"""

from collections.abc import Iterator

import cbor2

from pki.kernel.errors import InvalidError

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE, _BREAK = 31, 0xFF
_PLAIN_SIMPLE = frozenset({20, 21, 22, 25, 26, 27})  # false, true, null, three sizes of float


def dumps(value: object) -> bytes:
    """Return a value as CBOR."""
    return cbor2.dumps(value)


def loads(data: bytes, *, max_bytes: int, max_depth: int = 8) -> object:
    """Read one value of integers, floats, strings, lists, maps with text keys, true, false and null.

    Args:
        data: the whole input.
        max_bytes: longer input is refused before it is looked at.
        max_depth: deeper nesting is refused.

    Raises:
        InvalidError: too long, too deep, cut off, followed by more, tagged, or a map with a doubtful key.
    """
    if len(data) > max_bytes:
        msg = f"The CBOR has {len(data)} bytes; at most {max_bytes} are read."
        raise InvalidError(msg)
    walk = _Walk(data, max_depth)
    walk.value(0)
    if walk.at != len(data):
        msg = "Something follows the CBOR value."
        raise InvalidError(msg)
    try:
        return cbor2.loads(data)
    except (cbor2.CBORError, ValueError, EOFError) as error:
        msg = "This is not CBOR."
        raise InvalidError(msg) from error


class _Walk:
    """One pass over the bytes that decodes nothing but lengths and keys."""

    def __init__(self, data: bytes, max_depth: int) -> None:
        self.at = 0
        self._data = data
        self._max_depth = max_depth

    def value(self, depth: int) -> tuple[int, bytes]:
        """Pass over one value; return its major type and, of a string, its bytes."""
        if depth > self._max_depth:
            msg = f"The CBOR is nested deeper than {self._max_depth} levels."
            raise InvalidError(msg)
        major, count = self._head()
        if major in {_BYTES, _TEXT}:
            part = self._string(major, count)
            if major == _TEXT and b"\0" in part:
                msg = "A text of the CBOR holds a NUL, which no text has."
                raise InvalidError(msg)
            return major, part
        if major == _LIST:
            for _ in self._items(count):
                self.value(depth + 1)
        elif major == _MAP:
            self._map(count, depth)
        return major, b""

    def _map(self, count: int | None, depth: int) -> None:
        keys = set()
        for _ in self._items(count):
            major, key = self.value(depth + 1)
            if major != _TEXT or key in keys:
                msg = "Keys of a map are texts, and none stands twice."
                raise InvalidError(msg)
            keys.add(key)
            self.value(depth + 1)

    def _items(self, count: int | None) -> Iterator[None]:
        """Count the items of a list or map down, or go on until its break."""
        while count is None or count > 0:
            if count is None and self._ended():
                return
            yield
            count = None if count is None else count - 1

    def _ended(self) -> bool:
        """Say whether a break comes next, and pass over it."""
        if self._peek() != _BREAK:
            return False
        self.at += 1
        return True

    def _string(self, major: int, count: int | None) -> bytes:
        if count is not None:
            return self._take(count)
        parts = []
        while not self._ended():
            inner, length = self._head()
            if inner != major or length is None:
                msg = "The parts of a CBOR string are strings of its own kind."
                raise InvalidError(msg)
            parts.append(self._take(length))
        return b"".join(parts)

    def _head(self) -> tuple[int, int | None]:
        """Return major type and argument (None: of indefinite length)."""
        first = self._take(1)[0]
        major, low = first >> 5, first & 0x1F
        if major == _TAG or (major == _SIMPLE and low not in _PLAIN_SIMPLE):
            msg = "Tags and special values have no place in this CBOR."
            raise InvalidError(msg)
        if low < 24:  # noqa: PLR2004  because RFC 8949, 3: the argument itself
            return major, low
        if low <= 27:  # noqa: PLR2004  because RFC 8949, 3: 1, 2, 4 or 8 bytes follow
            return major, int.from_bytes(self._take(1 << (low - 24)), "big")
        if low == _INDEFINITE and major in {_BYTES, _TEXT, _LIST, _MAP}:
            return major, None
        msg = "This is not CBOR."
        raise InvalidError(msg)

    def _peek(self) -> int:
        if self.at >= len(self._data):
            msg = "The CBOR is cut off."
            raise InvalidError(msg)
        return self._data[self.at]

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            msg = "The CBOR is cut off."
            raise InvalidError(msg)
        part, self.at = self._data[self.at : end], end
        return part
