"""``GET /v1/manifest``: the SUIT envelope of the device's current action."""

from fleet.gateway.codec import CBOR
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request
from ota.services import manifests


def handle(_request: Request, who: Identified) -> Reply:
    """Return the envelope that the officers signed."""
    data = manifests.current(actor=who.actor, device=who.device)
    return Reply(Outcome.OK, data, CBOR, device_id=who.device.pk, routine=False)
