"""Canonical JSON: one value, one byte string; and a reader that refuses what is ambiguous.

The form is the JSON Canonicalization Scheme (RFC 8785) for what is signed or hashed here: members sorted (3.2.3), no
white space (3.2.1), strings with the fewest escapes (3.2.2.2), UTF-8 (3.2.4). Two differences: members are sorted by
code point, not by UTF-16 code unit, which differs only for names beyond U+FFFF; and numbers are integers: floats are
refused on both ways, so the number format of 3.2.2.3 never applies. Signed parts of TUF metadata are python-tuf's: it
signs them in the canonical JSON of OLPC (TUF specification 1.0, 4.1).
"""

import json

from pki.kernel import strict_json
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
    return strict_json.read_json(data, max_bytes=max_bytes, max_depth=max_depth, floats=False)


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        msg = "Canonical JSON may not contain floats. Use an integer or a string."
        raise InvalidError(msg)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = "Keys of canonical JSON must be strings."
                raise InvalidError(msg)
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
