"""Accept a device's log when it is requested: after a failed update, or while a command requests it."""

from datetime import timedelta

from devices.models import Device, DeviceLog
from devices.services import logs
from ota.models import Assignment, Command
from ota.services import commands
from pki.kernel import clock
from pki.kernel.actor import Actor

#: time after a failed update in which a device may send its log without a request
AFTER_FAILURE = timedelta(days=1)


def receive_log(*, actor: Actor, device: Device, reason: str, text: str) -> DeviceLog:
    """Store a redacted log of a device.

    Raises:
        InvalidError: too long, or another reason than failure or command.
        DeniedError: it was not requested.
    """
    return logs.keep(actor=actor, device=device, reason=reason, text=text, wanted=_wanted(device))


def _wanted(device: Device) -> bool:
    if commands.waiting_for(device).filter(kind=Command.Kind.COLLECT_LOG).exists():
        return True
    failed = Assignment.objects.filter(device=device, status=Assignment.Status.ERROR)
    return failed.filter(closed_at__gte=clock.now() - AFTER_FAILURE).exists()
