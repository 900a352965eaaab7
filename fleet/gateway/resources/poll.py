"""``POST /v1/poll``: anything for me?"""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Reply, Request
from ota.services import offers
from pki.kernel import clock
from pki.services.certificates import renew_at


def handle(request: Request, who: Identified) -> Reply:
    """Return {"next": seconds}; when something waits {"update": action id}; when it is time {"renew": true}."""
    codec.decode(request)
    offer = offers.poll(actor=who.actor, device=who.device)
    body: dict[str, object] = {"next": offer.next_s}
    # A quarantined device renews when it is released: until then only its repair is open to it.
    if not who.device.quarantined and renew_at(who.certificate) <= clock.now():
        body["renew"] = True
    if offer.assignment is not None:
        body["update"] = offer.assignment.action_id
    return codec.encode(request, body, who.device.pk)
