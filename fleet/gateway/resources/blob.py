"""``GET /v1/blob/SHA256`` or ``/v1/blob/image``: bytes of the device's own current action, and of nothing else."""

from fleet.gateway.identity import Identified
from fleet.gateway.protocol import Outcome, Reply, Request
from ota.services import downloads


def handle(request: Request, who: Identified) -> Reply:
    """Return a file to send, in ranges if asked; where it lies in a bucket, HTTPS answers with its address."""
    digest = request.path.rsplit("/", 1)[-1]
    if digest == "image":
        file = downloads.image(actor=who.actor, device=who.device)
    else:
        file = downloads.by_digest(actor=who.actor, device=who.device, sha256=digest)
    headers = {"etag": f'"{file.sha256}"'}
    return Reply(Outcome.OK, headers=headers, file=file, direct=True, device_id=who.device.pk, routine=False)
