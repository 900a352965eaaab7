"""Move devices through their lifecycle; the table below is the only truth about what may follow what."""

from django.db import transaction

from devices.errors import LifecycleError
from devices.models import Device
from pki.kernel.actor import Actor, Role
from pki.selectors import certificates_of
from pki.services import certificates, ledger

State = Device.State
#: act -> (states it starts from, state it leads to)
STEPS: dict[str, tuple[frozenset[str], str]] = {
    "suspend": (frozenset({State.ACTIVE}), State.SUSPENDED),
    "resume": (frozenset({State.SUSPENDED}), State.ACTIVE),
    "retire": (frozenset({State.PENDING, State.ACTIVE, State.SUSPENDED}), State.RETIRED),
}


def suspend(*, actor: Actor, device: Device) -> Device:
    """Hold a device back from everything until it is resumed."""
    return _step("suspend", actor, device)


def resume(*, actor: Actor, device: Device) -> Device:
    """Let a suspended device come back."""
    return _step("resume", actor, device)


def retire(*, actor: Actor, device: Device) -> Device:
    """Take a device out of service for good: its certificates are revoked."""
    with transaction.atomic():
        device = _step("retire", actor, device)
        for certificate in certificates_of(actor.domain, device.key):
            if certificate.revoked_at is None:
                certificates.revoke(actor=actor, fingerprint=certificate.fingerprint, reason="cessationOfOperation")
    return device


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
