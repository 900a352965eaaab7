"""Detect that device and server do not trust each other: either side may be compromised."""

from devices.models import Device
from devices.services import incidents
from pki.kernel.actor import Actor

MOST = 300


def report_distrust(*, actor: Actor, device: Device, reason: str) -> None:
    """Open an incident that says what a device does not trust; the device is not quarantined for it.

    Args:
        actor: the device.
        device: whose report it is; its signature and sequence number were checked.
        reason: in the device's words.
    """
    actor.require_device(device.key)
    text = f"it rejects this server's update metadata: {reason[:MOST]}"
    incidents.open_critical(
        domain=actor.domain, device=device, by="distrust", layer="distrust", kind="distrust", text=text
    )


def report_unattested(*, actor: Actor, device: Device, reason: str) -> None:
    """Open an incident: a device that measured its images again found other bytes than the installed ones.

    Args:
        actor: the device.
        device: who was asked.
        reason: in the device's words.
    """
    actor.require_device(device.key)
    text = f"at re-attestation it did not find the installed image: {reason[:MOST]}"
    incidents.open_critical(
        domain=actor.domain, device=device, by="distrust", layer="distrust", kind="attestation", text=text
    )
