"""The SUIT envelope of what a microcontroller shall install now: officers made it, the server only chooses it."""

from devices.models import Device
from devices.services import twins
from ota.selectors import signed
from ota.services import freshness, offers
from ota.trust.repository import manifest_name
from pki.kernel.actor import Actor
from pki.kernel.errors import NotFoundError


def current(*, actor: Actor, device: Device) -> bytes:
    """Return the envelope of the device's current action.

    Raises:
        NotFoundError: nothing waits, officers have no P-256 keys, or would have the device refuse it.
    """
    actor.require_device(device.key)
    assignment = offers.current(device)
    twins.protected(actor=actor, device=device, grade="manifest")
    hardware = str(device.hardware_model.class_id)
    if assignment is None or signed.objection(assignment.bundle, hardware):
        msg = "There is no manifest for this device now."
        raise NotFoundError(msg)
    return freshness.repository(actor.domain).read(manifest_name(assignment.bundle.digest, hardware))
