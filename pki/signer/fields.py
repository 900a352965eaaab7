"""Read the fields of a request to the signer: each of one type, each bounded."""

import uuid
from collections.abc import Mapping
from contextlib import suppress

from pki.kernel.errors import InvalidError


def text_of_request(request: Mapping[str, object], name: str, longest: int) -> str:
    """Return a printable text."""
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        msg = f"`{name}` must be printable text of at most {longest} characters."
        raise InvalidError(msg)
    return value


def uuid_text(request: Mapping[str, object], name: str) -> str:
    """Return a UUID in its canonical form, because it becomes part of names."""
    value = request.get(name)
    with suppress(ValueError, AttributeError, TypeError):
        if isinstance(value, str) and str(uuid.UUID(value)) == value:
            return value
    msg = f"`{name}` must be a UUID."
    raise InvalidError(msg)


def bytes_field(request: Mapping[str, object], name: str) -> bytes:
    """Return a byte string."""
    value = request.get(name)
    if not isinstance(value, bytes):
        msg = f"`{name}` must be a byte string."
        raise InvalidError(msg)
    return value


def octets_field(request: Mapping[str, object], name: str, length: int) -> bytes:
    """Return a byte string of one length."""
    value = bytes_field(request, name)
    if len(value) != length:
        msg = f"`{name}` must have {length} bytes."
        raise InvalidError(msg)
    return value


def integer_field(request: Mapping[str, object], name: str, least: int, most: int, default: int | None = None) -> int:
    """Return an integer between two others."""
    value = request.get(name, default)
    if type(value) is not int or not least <= value <= most:
        msg = f"`{name}` must be {least} to {most}."
        raise InvalidError(msg)
    return value


def words_field(
    request: Mapping[str, object], name: str, allowed: frozenset[str], default: frozenset[str]
) -> frozenset[str]:
    """Return a set of words out of the allowed ones; never empty."""
    value = request.get(name, sorted(default))
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item in allowed for item in value):
        msg = f"`{name}` may list only: {', '.join(sorted(allowed))}."
        raise InvalidError(msg)
    return frozenset(value)
