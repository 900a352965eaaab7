"""Transfer a device to another trust domain: offered by its owner, accepted by the new one, in both audit logs."""

import secrets
from datetime import timedelta

from django.db import transaction

from devices.models import Device, DeviceTransfer, EnrolmentToken, HardwareIdentity, HardwareModel
from devices.names import secret_hash
from devices.services import registry, tokens
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, NotFoundError
from pki.kernel.permissions import Action, require_action, require_on
from pki.selectors import get_domain as domain_of
from pki.services import ledger

LIFE = timedelta(days=7)
PREFIX = "mtr_"


def offer_transfer(*, actor: Actor, device: Device) -> str:
    """Return a code with which another domain may accept the device; it is shown once and valid for a week.

    Raises:
        ConflictError: the device is permanently out of service.
    """
    device = require_on(actor, Action.OFFER_DEVICE, Device.objects.all(), device)
    if device.state == Device.State.RETIRED:
        msg = "A retired device cannot be transferred."
        raise ConflictError(msg)
    code = PREFIX + secrets.token_urlsafe(24)
    with transaction.atomic():
        DeviceTransfer.objects.create(device=device, code_hash=secret_hash(code), expires_at=clock.now() + LIFE)
        ledger.record(actor=actor, action="device.offered", thing=("device", device.key))
    return code


def accept_transfer(*, actor: Actor, code: str) -> tuple[EnrolmentToken, str]:
    """Accept a device: retire it in its old domain, and return a token with which it enrols here.

    Raises:
        NotFoundError: no such offer, or it is over.
        ConflictError: it is this domain's own device.
    """
    require_action(actor, Action.TAKE_OVER_DEVICE)
    with transaction.atomic():
        rows = DeviceTransfer.objects.select_for_update(of=("self",)).select_related("device__domain")
        row = rows.filter(code_hash=secret_hash(code[:200]), taken_at__isnull=True, expires_at__gt=clock.now()).first()
        if row is None:
            msg = "The transfer offer does not exist or has expired. Ask the device's owner for a new code."
            raise NotFoundError(msg)
        device = row.device
        if device.domain.slug == actor.domain:
            msg = "The device already belongs to this domain."
            raise ConflictError(msg)
        row.taken_at, row.taken_by = clock.now(), actor.domain
        row.save(update_fields=["taken_at", "taken_by"])
        before = actors.system_actor(device.domain.slug, "transfer")
        if device.state != Device.State.RETIRED:
            registry.retire_device(actor=before, device=device)
        HardwareIdentity.objects.filter(device=device).delete()
        ledger.record(
            actor=before, action="device.handed-over", thing=("device", device.key), detail={"to": actor.domain}
        )
        token, secret = tokens.create(actor=actor, hardware_model=_model(actor, device), device_name=device.name)
        detail = {"from": device.domain.slug}
        ledger.record(actor=actor, action="device.taken-over", thing=("token", token.public_id), detail=detail)
    return token, secret


def _model(actor: Actor, device: Device) -> HardwareModel:
    """Return the device's hardware model in the new domain, copied if it is unknown there."""
    theirs = device.hardware_model
    facts = {"name": theirs.name, "vendor": theirs.vendor, "vendor_id": theirs.vendor_id}
    facts |= {"flash_model": theirs.flash_model, "arena": theirs.arena}
    home = domain_of(actor.domain)
    return HardwareModel.objects.get_or_create(domain=home, class_id=theirs.class_id, defaults=facts)[0]
