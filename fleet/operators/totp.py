"""Time-based one-time passwords (RFC 6238): SHA-1, 30 seconds, six digits, the defaults of authenticator apps."""

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote

STEP_SECONDS = 30
DIGITS = 6
#: number of time steps before and after the current one to accept, for clock drift (RFC 6238, 5.2)
DRIFT = 1


def new_secret() -> str:
    """Return a new random secret: 160 bits in base32."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def totp_code(secret: str, step: int) -> str:
    """Return the code of one time step."""
    mac = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1).digest()
    offset = mac[-1] & 15
    number = struct.unpack(">I", mac[offset : offset + 4])[0] & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: str, given: str, unix: int, after: int) -> int | None:
    """Return the time step of a code, or None if the code is not valid now.

    Args:
        secret: in base32.
        given: code that the person entered.
        unix: current Unix time, in seconds.
        after: last used step; this step and earlier ones are rejected, so that each code works once.
    """
    present = unix // STEP_SECONDS
    matching = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        same = hmac.compare_digest(totp_code(secret, step).encode(), given.strip().encode())
        if same and step > after:
            matching = step
    return matching


def otpauth_uri(secret: str, username: str) -> str:
    """Return the ``otpauth`` URI that authenticator apps read from a QR code."""
    return f"otpauth://totp/Muster:{quote(username)}?secret={secret}&issuer=Muster&digits={DIGITS}"
