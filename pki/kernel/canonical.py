"""Canonical JSON: one value, one byte string; and a reader that refuses what is ambiguous.

Close to RFC 8785 for what we use: keys sorted, no white space, UTF-8, integers only. Floats are
refused on both ways: what is signed or hashed here never needs them.
"""

import json
from typing import NoReturn

from pki.kernel.errors import InvalidError


def dumps(value: object) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        InvalidError: the value holds a float, a non-string key or something that JSON cannot say.
    """
    _refuse_floats(value)
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        msg = f"This value has no canonical form: {error}."
        raise InvalidError(msg) from error


def loads(data: bytes, *, max_bytes: int, max_depth: int = 16) -> object:
    """Read JSON strictly.

    Args:
        data: UTF-8 bytes.
        max_bytes: longer input is refused before it is parsed.
        max_depth: deeper nesting is refused.

    Raises:
        InvalidError: too long, too deep, not UTF-8, not JSON, duplicate keys, floats or NaN.
    """
    if len(data) > max_bytes:
        msg = f"The document has {len(data)} bytes; at most {max_bytes} are read."
        raise InvalidError(msg)
    try:
        text = data.decode()
        _refuse_depth(text, max_depth)
        return json.loads(text, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
        msg = f"The document is not JSON: {error}."
        raise InvalidError(msg) from error


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        msg = "Floats have no place in canonical JSON; use an integer or a string."
        raise InvalidError(msg)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = "Keys of canonical JSON are strings."
                raise InvalidError(msg)
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def _refuse_depth(text: str, max_depth: int) -> None:
    depth = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            if depth > max_depth:
                msg = f"The document is nested deeper than {max_depth} levels."
                raise InvalidError(msg)
        elif char in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            msg = f"The key {key[:80]!r} stands twice in one object."
            raise InvalidError(msg)
        found[key] = value
    return found


def _no_float(literal: str) -> NoReturn:
    msg = f"{literal[:40]} is not an integer; floats are not accepted here."
    raise InvalidError(msg)
