"""Register devices without a connection of their own: a gateway sends for them; each has its own twin and baseline."""

from django.db import transaction

from devices.models import Device, HardwareModel, Twin
from devices.names import check_name
from devices.services import fleet_counts
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError
from pki.kernel.permissions import Action, permitted_rows, pick_one
from pki.services import ledger

MOST = 5000


def register_child(*, actor: Actor, name: str, hardware_model: HardwareModel, gateway: Device) -> Device:
    """Register a child behind a gateway; it is in service at once and has no certificate.

    Args:
        actor: an operator.
        name: unique in the domain.
        hardware_model: of the child.
        gateway: an enrolled device of the same domain that is not behind a gateway itself.

    Raises:
        ConflictError: the name is taken, the gateway is out of service or a child, or has too many.
    """
    gateways = permitted_rows(actor, Action.REGISTER_CHILD, Device.objects.all())
    check_name(name)
    with transaction.atomic():
        above = pick_one(gateways.select_for_update(of=("self",)), gateway)
        if above.state != Device.State.ACTIVE or above.parent_id is not None:
            msg = f"{above.name} cannot be a gateway: it is out of service or is behind a gateway itself."
            raise ConflictError(msg)
        if Device.objects.filter(parent=above).count() >= MOST:
            msg = f"{above.name} already has {MOST} devices behind it."
            raise ConflictError(msg)
        if Device.objects.filter(domain_id=above.domain_id, name=name).exists():
            msg = f"A device named {name} already exists."
            raise ConflictError(msg)
        child = Device.objects.create(
            domain_id=above.domain_id,
            name=name,
            hardware_model=hardware_model,
            state=Device.State.ACTIVE,
            parent=above,
            enrolled_at=clock.now(),
        )
        Twin.objects.create(device=child)
        fleet_counts.note_count(child.domain_id, child.presence, 1)
        detail = {"gateway": above.key, "hardware": str(hardware_model.class_id)}
        ledger.record(actor=actor, action="device.registered", thing=("device", child.key), detail=detail)
    return child
