"""Keep the few logs that devices send: after a failure or on request, short, redacted, the newest only."""

from django.db import transaction

from devices.models import Device, DeviceLog
from devices.redaction import redact_log
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import DeniedError, InvalidError

MOST_BYTES = 32 * 1024
KEPT = 5


def keep(*, actor: Actor, device: Device, reason: str, text: str, wanted: bool) -> DeviceLog:
    """Keep a log of a device.

    Args:
        actor: the device.
        device: the same.
        reason: ``failure`` or ``command``.
        text: at most 32 KiB in UTF-8.
        wanted: whether an update failed recently or the log was requested; otherwise no log is accepted.

    Raises:
        InvalidError: too long, or another reason.
        DeniedError: it was not requested.
    """
    actor.require_device(device.key)
    if reason not in {"failure", "command"}:
        msg = "`reason` must be failure or command."
        raise InvalidError(msg)
    if len(text.encode()) > MOST_BYTES:
        msg = f"A log may have at most {MOST_BYTES} bytes. Send its last part."
        raise InvalidError(msg)
    if not wanted:
        msg = "A log is accepted only after a failure or on request."
        raise DeniedError(msg)
    with transaction.atomic(using="telemetry"):
        log = DeviceLog.objects.create(device_id=device.pk, at=clock.now(), reason=reason, text=redact_log(text))
        old = DeviceLog.objects.filter(device_id=device.pk).order_by("-id").values_list("id", flat=True)[KEPT:]
        DeviceLog.objects.filter(id__in=list(old)).delete()
    return log
