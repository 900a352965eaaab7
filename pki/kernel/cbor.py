"""Strict CBOR (RFC 8949): plain values only, bounded, one value and nothing after it.

The library's decoder runs code for tags (dates, patterns, shared and cyclic parts) and lets a later
duplicate key win. What comes from a peer is walked first, and only then decoded.
"""

from collections.abc import Iterator

import cbor2

from pki.kernel import intake
from pki.kernel.errors import InvalidError

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE, _BREAK = 31, 0xFF
_PLAIN_SIMPLE = frozenset({20, 21, 22, 25, 26, 27})  # false, true, null, three sizes of float


def dumps(value: object) -> bytes:
    """Return a value as CBOR."""
    return cbor2.dumps(value)


def loads(
    data: bytes,
    *,
    max_bytes: int,
    max_depth: int = 8,
    lenient: bool = False,
    cose: frozenset[int] | None = None,
) -> object:
    """Read one value of integers of 64 bits, finite floats, strings, lists, maps with text keys, true, false and null.

    Args:
        data: the whole input.
        max_bytes: longer input is refused before it is looked at.
        max_depth: deeper nesting is refused.
        lenient: for messages with a device's free text: characters that cannot be stored are replaced, not refused.
        cose: tags that may occur, for COSE and SUIT, whose maps have integers as keys as well; None for plain values.

    Raises:
        InvalidError: too long, too deep, cut off, followed by more, tagged, a map with a doubtful key, or a value that
            cannot be stored; it names the place.
    """
    if len(data) > max_bytes:
        msg = f"The CBOR has {len(data)} bytes; the maximum is {max_bytes}."
        raise InvalidError(msg)
    walk = _Walk(data, max_depth, cose)
    walk.value(0)
    if walk.at != len(data):
        msg = "Data follows the CBOR value. Remove it."
        raise InvalidError(msg)
    try:
        value = cbor2.loads(data, str_errors="replace" if lenient else "strict")
    except (cbor2.CBORError, ValueError, EOFError) as error:
        msg = "This is not CBOR."
        raise InvalidError(msg) from error
    if lenient:
        value = intake.storable_document(value)
    intake.check_document(value, most_depth=max_depth + 1, most_items=len(data) * 2 + 1)
    return value


class _Walk:
    """One pass over the bytes that decodes nothing but lengths and keys."""

    def __init__(self, data: bytes, max_depth: int, cose: frozenset[int] | None) -> None:
        self.at = 0
        self._tags = cose or frozenset()
        self._key_types = {_TEXT} if cose is None else {_TEXT, _UNSIGNED, _NEGATIVE}
        self._data = data
        self._max_depth = max_depth

    def value(self, depth: int) -> tuple[int, bytes]:
        """Pass over one value; return its major type and, of a string, its bytes."""
        if depth > self._max_depth:
            msg = f"The CBOR is nested deeper than {self._max_depth} levels."
            raise InvalidError(msg)
        major, count = self._head()
        if major in {_BYTES, _TEXT}:
            return major, self._string(major, count)
        if major == _LIST:
            for _ in self._items(count):
                self.value(depth + 1)
        elif major == _MAP:
            self._map(count, depth)
        elif major == _TAG:
            self.value(depth + 1)
        return major, b"" if count is None else count.to_bytes(8, "big")

    def _map(self, count: int | None, depth: int) -> None:
        keys = set()
        for _ in self._items(count):
            major, key = self.value(depth + 1)
            if major not in self._key_types or (major, key) in keys:
                msg = "Map keys must be text strings, and none may appear twice."
                raise InvalidError(msg)
            keys.add((major, key))
            self.value(depth + 1)

    def _items(self, count: int | None) -> Iterator[None]:
        """Count the items of a list or map down, or go on until its break."""
        while count is None or count > 0:
            if count is None and self._ended():
                return
            yield
            count = None if count is None else count - 1

    def _ended(self) -> bool:
        """Return whether a break comes next, and pass over it."""
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
                msg = "The chunks of a CBOR string must be strings of the same type."
                raise InvalidError(msg)
            parts.append(self._take(length))
        return b"".join(parts)

    def _head(self) -> tuple[int, int | None]:
        """Return major type and argument (None: of indefinite length)."""
        first = self._take(1)[0]
        major, low = first >> 5, first & 0x1F
        argument = self._argument(low)
        if (major == _TAG and argument not in self._tags) or (major == _SIMPLE and low not in _PLAIN_SIMPLE):
            msg = "Tags and special values are not accepted in this CBOR."
            raise InvalidError(msg)
        if argument is not None:
            return major, argument
        if low == _INDEFINITE and major in {_BYTES, _TEXT, _LIST, _MAP}:
            return major, None
        msg = "This is not CBOR."
        raise InvalidError(msg)

    def _argument(self, low: int) -> int | None:
        if low < 24:  # noqa: PLR2004  because RFC 8949, 3: the argument itself
            return low
        if low <= 27:  # noqa: PLR2004  because RFC 8949, 3: 1, 2, 4 or 8 bytes follow
            return int.from_bytes(self._take(1 << (low - 24)), "big")
        return None

    def _peek(self) -> int:
        if self.at >= len(self._data):
            msg = "The CBOR is truncated."
            raise InvalidError(msg)
        return self._data[self.at]

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            msg = "The CBOR is truncated."
            raise InvalidError(msg)
        part, self.at = self._data[self.at : end], end
        return part
