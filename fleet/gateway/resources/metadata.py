"""``GET /v1/metadata/NAME``: the published TUF metadata, byte for byte."""

from fleet.gateway.codec import JSON
from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import proofs


def handle_metadata(request: DeviceRequest, who: Identified) -> Reply:
    """Return one metadata file."""
    name = request.path.rsplit("/", 1)[-1]
    data = proofs.read_device_metadata(actor=who.actor, device=who.device, name=name)
    return Reply(ResponseOutcome.OK, data, JSON, {"cache-control": "no-cache"}, device_id=who.device.pk, routine=False)
