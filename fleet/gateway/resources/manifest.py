"""``GET /v1/manifest``: the SUIT envelope of the device's current action."""

from fleet.gateway.codec import CBOR
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import manifests


def handle_manifest(_request: DeviceRequest, who: Identified) -> Reply:
    """Return the envelope that the officers signed."""
    data = manifests.current_envelope(actor=who.actor, device=who.device)
    return Reply(ResponseOutcome.OK, data, CBOR, device_id=who.device.pk, routine=False)
