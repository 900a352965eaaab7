"""What a device may be called, and what is kept of a secret word. Pure."""

import hashlib
import re

from pki.kernel.errors import InvalidError
from pki.kernel.ids import check_not_uuid

MOST = 64
#: a tag: a plain word, the same in every database, URL and query
TAG = re.compile(r"[a-z0-9][a-z0-9._:-]{0,39}")
#: whom a bundle is signed for, and what a device is used as (the device knows it from its factory, too)
AUDIENCES = ("lab", "canary", "production")
MOST_TAGS = 32


def check_name(name: str, *, empty: bool = False) -> None:
    """Refuse a device name that is not usable in a URL, a certificate or a path.

    Raises:
        InvalidError: it says what a name may hold.
    """
    allowed = all(char.isascii() and (char.isalnum() or char in "-_.") for char in name)
    if len(name) > MOST or not allowed or (not name and not empty) or name.startswith("."):
        msg = "A device name must have 1 to 64 letters, digits, hyphens, dots and underscores."
        raise InvalidError(msg)
    check_not_uuid(name)


def secret_hash(secret: str) -> str:
    """Return what is stored of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
