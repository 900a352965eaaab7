"""Move devices through their lifecycle; the table below is the only truth about what may follow what."""

from django.db import transaction

from devices.errors import LifecycleError
from devices.models import (
    BatchSeen,
    Device,
    EnrolmentToken,
    Observation,
    PreRegistration,
    Presence,
    Sample,
    Twin,
)
from pki.kernel.actor import Actor, Role
from pki.selectors import certificates_of
from pki.services import certificates, ledger

State = Device.State
PERSONAL = frozenset({"name", "owner", "site", "tags", "address", "behaviour", "attributes"})
#: act -> (states it starts from, state it leads to)
STEPS: dict[str, tuple[frozenset[str], str]] = {
    "suspend": (frozenset({State.ACTIVE}), State.SUSPENDED),
    "resume": (frozenset({State.SUSPENDED}), State.ACTIVE),
    "return": (frozenset({State.ACTIVE, State.SUSPENDED}), State.RETURNED),
    "retire": (frozenset({State.PENDING, State.ACTIVE, State.SUSPENDED, State.RETURNED}), State.RETIRED),
}


def suspend(*, actor: Actor, device: Device) -> Device:
    """Hold a device back from everything until it is resumed."""
    return _step("suspend", actor, device)


def resume(*, actor: Actor, device: Device) -> Device:
    """Let a suspended device come back."""
    return _step("resume", actor, device)


def send_back(*, actor: Actor, device: Device) -> Device:
    """Take a device out of service for repair or stock: its certificates are revoked, a new token brings it back."""
    with transaction.atomic():
        device = _step("return", actor, device)
        _revoke_all(actor, device, "cessationOfOperation")
    return device


def retire(*, actor: Actor, device: Device) -> Device:
    """Take a device out of service for good: its certificates are revoked."""
    with transaction.atomic():
        device = _step("retire", actor, device)
        _revoke_all(actor, device, "cessationOfOperation")
    return device


def decommission(*, actor: Actor, device: Device) -> Device:
    """Retire a device and erase what may tell about people: name, owner, site, tags, addresses, behaviour.

    The ledger keeps commitments to it; with the device's salt gone nobody can check a guess against them.
    """
    with transaction.atomic():
        if device.state != State.RETIRED:
            device = retire(actor=actor, device=device)
        thing = ("device", device.key)
        ledger.record(actor=actor, action="device.erased", thing=thing, detail={"fields": sorted(PERSONAL)})
        EnrolmentToken.objects.filter(used_by=device).update(device_name="")
        PreRegistration.objects.filter(used_by=device).update(device_name=f"erased-{device.key[-12:]}")
        Twin.objects.filter(device=device).update(reported={}, desired={})
        device.name = f"erased-{device.key[-12:]}"
        device.owner, device.site, device.tags, device.salt = "", "", [], b""
        device.quarantine_reason = "erased" if device.quarantined else ""
        device.save()
    for table in (Sample, BatchSeen, Observation, Presence):
        table.objects.filter(device_id=device.pk).delete()
    return device


def _revoke_all(actor: Actor, device: Device, reason: str) -> None:
    for certificate in certificates_of(actor.domain, device.key):
        if certificate.revoked_at is None:
            certificates.revoke(actor=actor, fingerprint=certificate.fingerprint, reason=reason)


def _step(act: str, actor: Actor, device: Device) -> Device:
    actor.require(Role.SECURITY_OFFICER)
    sources, target = STEPS[act]
    with transaction.atomic():
        locked = Device.objects.select_for_update().get(pk=device.pk, domain__slug=actor.domain)
        if locked.state not in sources:
            wanted = " or ".join(sorted(sources))
            msg = f"A device that is {locked.state} cannot {act}; it would have to be {wanted}."
            raise LifecycleError(msg)
        locked.state = target
        locked.save(update_fields=["state"])
        ledger.record(actor=actor, action=f"device.{act}", thing=("device", locked.key))
    return locked
