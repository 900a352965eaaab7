"""Make and withdraw one-time enrolment tokens."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from devices.models import Device, EnrolmentToken, HardwareModel
from devices.names import check_name, secret_hash
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, permitted_rows, require_action, require_on
from pki.models import TrustDomain
from pki.profiles import DEVICE
from pki.selectors import get_domain as domain_of
from pki.selectors.finding import one_by_id
from pki.services import ledger, profiles

PREFIX = "met_"
MAX_DAYS = 365


def create(
    *, actor: Actor, hardware_model: HardwareModel, device_name: str = "", days: int = 7, profile: str = DEVICE.name
) -> tuple[EnrolmentToken, str]:
    """Create a token and return it with its secret, which is shown only once.

    Args:
        actor: a security officer or an operator.
        hardware_model: the only kind of device that it enrols.
        device_name: the only name under which it enrols; empty leaves the name to the request.
        days: its validity.
        profile: of the certificate that the device gets.
    """
    [made] = create_tokens(
        actor=actor, hardware_model=hardware_model, device_names=[device_name], days=days, profile=profile
    )
    return made


def create_tokens(
    *, actor: Actor, hardware_model: HardwareModel, device_names: Sequence[str], days: int, profile: str
) -> list[tuple[EnrolmentToken, str]]:
    """Create one token for each name and return them with their secrets; if one cannot be created, none is.

    Args:
        actor: a security officer or an operator.
        hardware_model: the only kind of device that they enrol.
        device_names: one name for each token; empty names leave the name to the request.
        days: their validity.
        profile: of the certificates that the devices get.
    """
    require_action(actor, Action.CREATE_ENROLMENT_TOKEN)
    if not 0 < days <= MAX_DAYS:
        msg = f"A token's lifetime must be 1 to {MAX_DAYS} days."
        raise InvalidError(msg)
    for name in device_names:
        check_name(name, empty=True)
    profiles.profile_of(actor.domain, profile)
    terms = _Terms(domain_of(actor.domain), hardware_model, days, profile)
    with transaction.atomic():
        return [_make(actor, terms, name) for name in device_names]


def replace_board(*, actor: Actor, device: Device, days: int = 7) -> tuple[EnrolmentToken, str]:
    """Create a token for a replacement board of a device: same device, new key.

    The new board waits for approval; when it is enrolled, the old one's certificates are revoked.

    Raises:
        ConflictError: the device is permanently out of service.
    """
    device = require_on(actor, Action.REPLACE_BOARD, Device.objects.select_related("hardware_model"), device)
    if device.state == Device.State.RETIRED:
        msg = "A retired device cannot get a replacement board. Enrol the board under another name."
        raise ConflictError(msg)
    terms = _Terms(domain_of(actor.domain), device.hardware_model, days, replaces=True)
    with transaction.atomic():
        return _make(actor, terms, device.name)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What tokens that are made together have in common."""

    domain: TrustDomain
    hardware_model: HardwareModel
    days: int
    profile: str = DEVICE.name
    replaces: bool = False


def _make(actor: Actor, terms: _Terms, device_name: str) -> tuple[EnrolmentToken, str]:
    secret = PREFIX + secrets.token_urlsafe(32)
    token = EnrolmentToken.objects.create(
        domain=terms.domain,
        secret_hash=secret_hash(secret),
        hardware_model=terms.hardware_model,
        device_name=device_name,
        profile=terms.profile,
        replaces=terms.replaces,
        expires_at=clock.now() + timedelta(days=terms.days),
        created_by=f"{actor.kind}:{actor.key}",
    )
    detail = {"hardware": terms.hardware_model.name, "profile": terms.profile, "replaces": terms.replaces}
    thing = ("token", token.public_id)
    ledger.record(actor=actor, action="token.created", thing=thing, detail=detail, domain=terms.domain)
    return token, secret


def withdraw(*, actor: Actor, public_id: str) -> EnrolmentToken:
    """Revoke an unused token."""
    rows = permitted_rows(actor, Action.WITHDRAW_ENROLMENT_TOKEN, EnrolmentToken.objects.all())
    with transaction.atomic():
        token = one_by_id(rows, public_id, "enrolment token")
        if token.used_at:
            msg = "The token has been used. Revoke the device's certificate instead."
            raise ConflictError(msg)
        if not token.withdrawn_at:
            token.withdrawn_at = clock.now()
            token.save(update_fields=["withdrawn_at"])
            ledger.record(actor=actor, action="token.withdrawn", thing=("token", token.public_id))
    return token
