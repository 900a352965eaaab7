"""Make and withdraw one-time enrolment tokens."""

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction

from devices.models import EnrolmentToken, HardwareModel
from devices.selectors import token as token_of
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError
from pki.selectors import domain as domain_of
from pki.services import ledger

PREFIX = "met_"
MAX_DAYS = 365


def secret_hash(secret: str) -> str:
    """Return what is stored of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    *, actor: Actor, hardware_model: HardwareModel, device_name: str = "", days: int = 7
) -> tuple[EnrolmentToken, str]:
    """Make a token and return it with its secret, which is shown this once.

    Args:
        actor: a security officer or an operator.
        hardware_model: the only kind of device that it enrols.
        device_name: the only name under which it enrols; empty leaves the name to the request.
        days: how long it lives.
    """
    actor.require(Role.SECURITY_OFFICER, Role.OPERATOR)
    if not 0 < days <= MAX_DAYS:
        msg = f"A token lives between 1 and {MAX_DAYS} days."
        raise InvalidError(msg)
    check_name(device_name, empty=True)
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = EnrolmentToken.objects.create(
            domain=domain_of(actor.domain),
            secret_hash=secret_hash(secret),
            hardware_model=hardware_model,
            device_name=device_name,
            expires_at=clock.now() + timedelta(days=days),
            created_by=f"{actor.kind}:{actor.key}",
        )
        detail = {"hardware": hardware_model.name, "device": device_name}
        ledger.record(actor=actor, action="token.created", thing=("token", token.public_id), detail=detail)
    return token, secret


def withdraw(*, actor: Actor, public_id: str) -> EnrolmentToken:
    """Make an unused token worthless."""
    actor.require(Role.SECURITY_OFFICER, Role.OPERATOR)
    with transaction.atomic():
        token = token_of(actor.domain, public_id)
        if token.used_at:
            msg = "The token has been used; revoke the device's certificate instead."
            raise ConflictError(msg)
        if not token.withdrawn_at:
            token.withdrawn_at = clock.now()
            token.save(update_fields=["withdrawn_at"])
            ledger.record(actor=actor, action="token.withdrawn", thing=("token", token.public_id))
    return token


def check_name(name: str, *, empty: bool = False) -> None:
    """Refuse a device name that could not stand in a URL, a certificate or a path.

    Raises:
        InvalidError: it says what a name may hold.
    """
    allowed = all(char.isascii() and (char.isalnum() or char in "-_.") for char in name)
    if len(name) > 64 or not allowed or (not name and not empty) or name.startswith("."):  # noqa: PLR2004  because a common name has 64
        msg = "A device name holds 1 to 64 letters, digits, hyphens, dots and underscores."
        raise InvalidError(msg)
