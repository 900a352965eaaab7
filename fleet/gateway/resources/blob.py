"""``GET /v1/blob/SHA256`` or ``/v1/blob/image``: files of the device's current action only."""

from fleet.gateway.identity import Identified
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from ota.services import downloads


def handle_blob(request: DeviceRequest, who: Identified) -> Reply:
    """Return a file to send, with ranges. HTTPS redirects to the object store if the file is there."""
    digest = request.path.rsplit("/", 1)[-1]
    if digest == "image":
        file = downloads.current_image(actor=who.actor, device=who.device)
    else:
        file = downloads.by_digest(actor=who.actor, device=who.device, sha256=digest)
    headers = {"etag": f'"{file.sha256}"'}
    return Reply(ResponseOutcome.OK, headers=headers, file=file, direct=True, device_id=who.device.pk, routine=False)
