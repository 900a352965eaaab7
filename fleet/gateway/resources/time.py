"""``POST /v1/time``: the current time, signed with the nonce of the request."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request
from ota.services import director


def handle(request: Request, who: Identified) -> Reply:
    """Return the signed time."""
    nonce = codec.octets(codec.decode(request, codec.NONCE), "nonce")
    data = director.time(actor=who.actor, nonce=nonce)
    return Reply(Outcome.OK, data, codec.JSON, device_id=who.device.pk, routine=False)
