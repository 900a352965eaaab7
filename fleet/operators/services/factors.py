"""Secrets of second factors: sealed in the database, and each code used once."""

import base64
import hashlib

from cryptography.fernet import Fernet

from fleet.environment import secret
from fleet.operators import totp
from fleet.operators.models import Operator
from pki.kernel import clock


def seal_secret(text: str) -> str:
    """Return a second-factor secret as the database keeps it."""
    return _box().encrypt(text.encode()).decode()


def open_secret(sealed: str) -> str:
    """Return the secret behind what the database keeps."""
    return _box().decrypt(sealed.encode()).decode()


def use_code(operator: Operator, code: str) -> bool:
    """Say whether a code is the operator's of this moment, and let it work once."""
    if not operator.totp_secret:
        return False
    step = totp.matching_step(open_secret(operator.totp_secret), code, clock.unix(), operator.totp_last_step)
    if step is None:
        return False
    # The condition makes a code work once, even when it comes twice at the same moment.
    used = Operator.objects.filter(pk=operator.pk, totp_last_step__lt=step).update(totp_last_step=step)
    return used == 1


def _box() -> Fernet:
    """Return the box that second-factor secrets lie in: its key is not in the database."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret("totp.key").encode()).digest()))
