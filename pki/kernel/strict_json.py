"""Strict JSON (RFC 8259): UTF-8, bounded, each key once, integers of 64 bits, finite numbers, storable text.

The only caller of the library's reader for data from outside; a test in ``tests/architecture`` checks that.
"""

import json
import math
import re

from pki.kernel import intake
from pki.kernel.errors import InvalidError

#: strings, to be passed over, and what opens or closes a level
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)
#: digits of an integer that tell that it is beyond 64 bits
_ENOUGH = 40


def read_json(
    data: bytes | str, *, max_bytes: int, max_depth: int = 16, floats: bool = True, lenient: bool = False
) -> object:
    """Return the value of a JSON document.

    Args:
        data: the document.
        max_bytes: a longer one is refused before it is parsed.
        max_depth: deeper nesting is refused.
        floats: whether numbers may have a fraction or an exponent.
        lenient: for clients of foreign protocols: texts and numbers that cannot be stored are replaced, not refused.

    Raises:
        InvalidError: too long, too deep, not UTF-8, not JSON, a key twice, or a value that cannot be stored; it names
            the place.
    """
    if len(data) > max_bytes:
        msg = f"The document has {len(data)} bytes; the maximum is {max_bytes}."
        raise InvalidError(msg)
    reader = _StrictDecoder(floats=floats, lenient=lenient)
    try:
        text = data if isinstance(data, str) else data.decode(errors="replace" if lenient else "strict")
        _refuse_depth(text, max_depth)
        value = reader.decode(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON
        msg = f"The document is not JSON in UTF-8: {intake.shown_name(error, 120)}."
        raise InvalidError(msg) from error
    if lenient:
        return intake.storable_document(value)
    if "\\u" not in text and isinstance(data, bytes) and not reader.doubtful:
        return value  # raw controls are refused by the grammar, and halves of characters by UTF-8
    intake.check_document(value, most_depth=max_depth + 1, most_items=len(text) + 1)
    return value


def _refuse_depth(text: str, max_depth: int) -> None:
    if text.count("[") + text.count("{") <= max_depth:
        return  # without those in strings it can only nest less deeply
    depth = 0
    for mark in _MARKS.finditer(text):
        char = mark[0]
        if char in "[{":
            depth += 1
            if depth > max_depth:
                msg = f"The document is nested deeper than {max_depth} levels."
                raise InvalidError(msg)
        elif char in "]}":
            depth -= 1


class _StrictDecoder:
    """The library's decoder with our hooks; ``doubtful``: a number is left to the check that knows its place."""

    def __init__(self, *, floats: bool, lenient: bool) -> None:
        self.doubtful = False
        self._floats, self._lenient = floats, lenient
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique,
            parse_int=self._integer,
            parse_float=self._number,
            parse_constant=self._number,
            strict=not lenient,
        )

    def decode(self, text: str) -> object:
        """Return the value of a text."""
        return self._decoder.decode(text)

    def _integer(self, literal: str) -> object:
        value = int(literal[:_ENOUGH])
        if intake.LEAST <= value <= intake.MOST:
            return value
        self.doubtful = True
        return literal[:_ENOUGH] if self._lenient else value

    def _number(self, literal: str) -> object:
        if not self._floats:
            msg = f"{literal[:40]} is not an integer; floats are not accepted here."
            raise InvalidError(msg)
        value = float(literal)
        if math.isfinite(value):
            return value
        self.doubtful = True
        return literal[:_ENOUGH] if self._lenient else value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                msg = f"The key {intake.shown_name(key)!r} appears twice in one object. Remove one of the two."
                raise InvalidError(msg)
            seen.add(key)
    return members
