"""``POST /v1/poll``: anything for me?"""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Reply, Request
from ota.services import offers


def handle(request: Request, who: Identified) -> Reply:
    """Return {"next": seconds} and, when something waits, {"update": action id}."""
    codec.decode(request)
    offer = offers.poll(actor=who.actor, device=who.device)
    body = {"next": offer.next_s}
    if offer.assignment is not None:
        body["update"] = offer.assignment.action_id
    return codec.encode(request, body, who.device.pk)
