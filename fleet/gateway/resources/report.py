"""``POST /v1/report``: what the device runs and how its action goes, signed by its key."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request
from ota.services import reports


def handle(request: Request, who: Identified) -> Reply:
    """Take a report; nothing comes back."""
    body = codec.decode(request)
    reports.receive(
        actor=who.actor,
        device=who.device,
        payload=codec.octets(body, "payload"),
        signature=codec.octets(body, "signature"),
        certificate=bytes(who.certificate.der),
    )
    return Reply(Outcome.NO_CONTENT, device_id=who.device.pk, routine=False)
