"""``POST /v1/telemetry``: one batch of metrics."""

from devices.errors import ReplayError
from devices.services import telemetry
from fleet.gateway import codec
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome


def handle_telemetry(request: DeviceRequest, who: Identified) -> Reply:
    """Store a batch. A repeated batch is acknowledged again but not counted."""
    batch = telemetry.parse_batch(codec.decode_body(request, None))
    try:
        telemetry.ingest_batch(actor=who.actor, device=who.device, batch=batch)
    except ReplayError:
        return Reply(ResponseOutcome.NO_CONTENT, device_id=who.device.pk, routine=False)
    return Reply(ResponseOutcome.NO_CONTENT, device_id=who.device.pk)
