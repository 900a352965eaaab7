"""``POST /v1/log`` {reason, text}: the end of the device's log, after a failure or on request."""

from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import logs
from pki.kernel.errors import InvalidError

FIELDS = frozenset({"reason", "text"})


def handle_log(request: DeviceRequest, who: Identified) -> Reply:
    """Store a log. The reply is empty."""
    body = codec.decode_body(request, FIELDS, free_text=True)
    reason, text = body.get("reason"), body.get("text")
    if not isinstance(reason, str) or not isinstance(text, str):
        msg = "`reason` and `text` must be text."
        raise InvalidError(msg)
    logs.receive_log(actor=who.actor, device=who.device, reason=reason, text=text)
    return Reply(ResponseOutcome.NO_CONTENT, device_id=who.device.pk, routine=False)
