"""Encrypt the secrets of second factors, and verify codes; each code works once."""

import base64
import hashlib

from cryptography.fernet import Fernet

from fleet.environment import read_secret
from fleet.operators import totp
from fleet.operators.models import Operator
from pki.kernel import clock


def seal_secret(text: str) -> str:
    """Encrypt a second-factor secret for the database."""
    return _box().encrypt(text.encode()).decode()


def open_secret(sealed: str) -> str:
    """Decrypt a second-factor secret from the database."""
    return _box().decrypt(sealed.encode()).decode()


def use_code(operator: Operator, code: str) -> bool:
    """Return whether a code of the operator is valid now; mark it as used."""
    if not operator.totp_secret:
        return False
    step = totp.matching_step(open_secret(operator.totp_secret), code, clock.unix(), operator.totp_last_step)
    if step is None:
        return False
    # The condition prevents a second use of the code by a concurrent request.
    used = Operator.objects.filter(pk=operator.pk, totp_last_step__lt=step).update(totp_last_step=step)
    return used == 1


def _box() -> Fernet:
    """Return the cipher for second-factor secrets; its key is not stored in the database."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(read_secret("totp.key").encode()).digest()))
