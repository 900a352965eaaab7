"""Quarantine a device, and release it."""

from django.db import transaction

from devices.models import Device, FleetCount
from devices.services import fleet_counts
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.kernel.permissions import Action, permitted_rows, pick_one
from pki.services import changes, ledger


def quarantine_device(*, actor: Actor, device: Device, reason: str) -> Device:
    """Quarantine a device: it may only do what its repair needs. Repeating this changes nothing."""
    devices = permitted_rows(actor, Action.QUARANTINE_DEVICE, Device.objects.all())
    if not reason.strip():
        msg = "Give a reason. It appears on the device's page and in the audit log."
        raise InvalidError(msg)
    with transaction.atomic():
        locked = pick_one(devices.select_for_update(of=("self",)), device)
        if locked.quarantined:
            return locked
        locked.quarantined_at = clock.now()
        locked.quarantine_reason = reason[:300]
        locked.save(update_fields=["quarantined_at", "quarantine_reason"])
        fleet_counts.note_count(locked.domain_id, FleetCount.Kind.QUARANTINED, 1)
        changes.note_changes(locked.key)
        detail = {"reason": locked.quarantine_reason}
        ledger.record(actor=actor, action="device.quarantined", thing=("device", locked.key), detail=detail)
    return locked


def release_device(*, actor: Actor, device: Device, reason: str) -> Device:
    """End the quarantine of a device. Repeating this changes nothing."""
    devices = permitted_rows(actor, Action.END_QUARANTINE, Device.objects.all())
    with transaction.atomic():
        locked = pick_one(devices.select_for_update(of=("self",)), device)
        if not locked.quarantined:
            return locked
        locked.quarantined_at = None
        locked.quarantine_reason = ""
        locked.save(update_fields=["quarantined_at", "quarantine_reason"])
        fleet_counts.note_count(locked.domain_id, FleetCount.Kind.QUARANTINED, -1)
        changes.note_changes(locked.key)
        detail = {"reason": reason[:300]}
        ledger.record(actor=actor, action="device.released", thing=("device", locked.key), detail=detail)
    return locked
