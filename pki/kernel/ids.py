"""Public identifiers: UUID version 7 (RFC 9562), sortable by time, unguessable in 74 bits."""

import re
import secrets
import uuid

from pki.kernel import clock
from pki.kernel.errors import InvalidError

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7: 48 bits of unix milliseconds, then random bits."""
    milliseconds = int(clock.now().timestamp() * 1000) & ((1 << 48) - 1)
    high = secrets.randbits(12)
    low = secrets.randbits(62)
    value = (milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low
    return uuid.UUID(int=value)


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in its usual form."""
    return _UUID.fullmatch(text) is not None


def check_not_uuid(name: str) -> None:
    """Refuse a new name that has the form of a UUID: filters accept a name or a public id, and read it as an id.

    Raises:
        InvalidError: it has this form.
    """
    if is_uuid(name.strip().lower()):
        msg = "A name must not have the form of a UUID. Choose another name."
        raise InvalidError(msg)


def new_salt() -> bytes:
    """Return 16 random bytes that keep a commitment from being guessed."""
    return secrets.token_bytes(16)
