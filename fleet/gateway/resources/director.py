"""``POST /v1/director``: the target of this device, signed with its nonce."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import director


def handle_director(request: DeviceRequest, who: Identified) -> Reply:
    """Return the director's signed document."""
    nonce = codec.body_octets(codec.decode_body(request, codec.NONCE), "nonce")
    data = director.director_document(actor=who.actor, device=who.device, nonce=nonce)
    return Reply(ResponseOutcome.OK, data, codec.JSON, device_id=who.device.pk, routine=False)
