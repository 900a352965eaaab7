"""The SUIT envelope that a microcontroller must install: officers made it, the server only selects it."""

from devices.models import Device
from ota.contract import suit
from ota.models import Bundle
from ota.services import offers, online_roles, proofs
from ota.trust import protection
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, NotFoundError


def current_envelope(*, actor: Actor, device: Device) -> bytes:
    """Return the envelope of the device's current action.

    Raises:
        NotFoundError: no open action, officers without P-256 keys, or officers make the device refuse the bundle.
    """
    actor.require_device(device.key)
    assignment = offers.current_offer(device)
    proofs.note_protocol(actor=actor, device=device, client=protection.SUIT, name="manifest")
    hardware = str(device.hardware_model.class_id)
    if assignment is not None:
        data = online_roles.published_repository(actor.domain).read_manifest(assignment.bundle.digest, hardware)
        if _names_image(data, assignment.bundle, hardware):
            return data
    msg = "There is no manifest for this device now."
    raise NotFoundError(msg)


def _names_image(data: bytes, bundle: Bundle, hardware: str) -> bool:
    """Return whether an envelope installs the image that officers signed for this bundle; it may be replaced."""
    try:
        image, _, _ = suit.read_envelope(data)
        sequence = image.sequence
        return image == suit.suit_images(bundle.manifest, sequence).get(hardware)
    except (InvalidError, ValueError):
        return False
