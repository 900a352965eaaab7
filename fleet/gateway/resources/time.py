"""``POST /v1/time``: the current time, signed with the nonce of the request."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import director


def handle_time(request: DeviceRequest, who: Identified) -> Reply:
    """Return the signed time."""
    nonce = codec.body_octets(codec.decode_body(request, codec.NONCE), "nonce")
    data = director.signed_time(actor=who.actor, nonce=nonce)
    return Reply(ResponseOutcome.OK, data, codec.JSON, device_id=who.device.pk, routine=False)
