"""Record a device's requests: the evidence of how it verifies updates."""

import re

from devices.models import Device
from devices.services import twins
from devices.twin_documents import Evidence, UpdateProof
from ota.services import metadata
from ota.trust import protection
from pki.kernel import clock
from pki.kernel.actor import Actor

#: metadata that officers signed: lists, bins, and the bundle.json that they name
_DOCUMENT = re.compile(r"[0-9]+\.(targets|b-[0-9a-f]+)\.json|[0-9a-f]{64}\.bundle\.json")


def note_protocol(*, actor: Actor, device: Device, client: str, name: Evidence) -> None:
    """Record a request of a device by a protocol; evidence from another protocol does not count any more.

    Args:
        actor: the device.
        device: the one that is meant.
        client: ``native``, ``suit`` or ``ddi``.
        name: ``director``, ``metadata``, ``documents``, ``manifest`` or ``deployment``.
    """
    known = device.twin.reported.get("proof", {})
    if known.get("client") != client:
        known = {}
    at = protection.coarse_time(clock.unix())
    if name == "documents" and name in known:
        return
    if known.get(name) != at:
        proof: UpdateProof = {**known, "client": client}
        proof[name] = at
        twins.store_evidence(actor=actor, device=device, proof=proof)


def read_device_metadata(*, actor: Actor, device: Device, name: str) -> bytes:
    """Return a published metadata file to a device.

    Raises:
        NotFoundError: nothing of that name was published.
    """
    data = metadata.read_published_metadata(actor.domain, name)
    if name == "timestamp.json":
        note_protocol(actor=actor, device=device, client=protection.NATIVE, name="metadata")
    elif _DOCUMENT.fullmatch(name):
        note_protocol(actor=actor, device=device, client=protection.NATIVE, name="documents")
    return data
