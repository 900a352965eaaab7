"""``POST /v1/report``: current components and state of the action, signed by the device's key."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import reports

FIELDS = frozenset({"payload", "signature"})


def handle_report(request: DeviceRequest, who: Identified) -> Reply:
    """Store a report. Return the token for the next one if the device supports the fork test."""
    body = codec.decode_body(request, FIELDS)
    token = reports.receive_report(
        actor=who.actor,
        device=who.device,
        payload=codec.body_octets(body, "payload"),
        signature=codec.body_octets(body, "signature"),
        certificate=bytes(who.certificate.der),
    )
    if token is not None:
        reply = codec.encode_reply(request, {"fork": token}, who.device.pk)
        return Reply(reply.outcome, reply.payload, reply.content_type, device_id=who.device.pk, routine=False)
    return Reply(ResponseOutcome.NO_CONTENT, device_id=who.device.pk, routine=False)
