"""Notice that device and server do not believe each other: either side may be in somebody else's hands."""

from devices.models import Device
from devices.services import incidents
from pki.kernel.actor import Actor

MOST = 300


def tell(*, actor: Actor, device: Device, reason: str) -> None:
    """Open an incident that says what a device does not believe; a device is not punished for it.

    Args:
        actor: the device.
        device: whose report it is; its signature and sequence number were checked.
        reason: in the device's words.
    """
    actor.require_device(device.key)
    text = f"it refuses the update metadata of this server: {reason[:MOST]}"
    incidents.tell(domain=actor.domain, device=device, by="distrust", layer="distrust", kind="distrust", text=text)


def unattested(*, actor: Actor, device: Device, reason: str) -> None:
    """Open an incident that says that a device, asked to measure itself, did not find what it should run.

    Args:
        actor: the device.
        device: who was asked.
        reason: in the device's words.
    """
    actor.require_device(device.key)
    text = f"asked to attest again, it did not find what was installed: {reason[:MOST]}"
    incidents.tell(domain=actor.domain, device=device, by="distrust", layer="distrust", kind="attestation", text=text)
