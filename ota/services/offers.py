"""Answer a device's poll for updates."""

import logging
from dataclasses import dataclass

from django.conf import settings

from devices.models import Device
from ota.eligibility import BY_OFFICERS
from ota.models import Assignment
from ota.selectors import eligibility, signed
from ota.selectors.rollouts import open_assignments
from ota.services import commands
from ota.services.assignments import Status
from pki.kernel.actor import Actor
from pki.kernel.recent import Recent

_logger = logging.getLogger(__name__)
#: a refusal is logged once per ten minutes, device and bundle
_logged: Recent[tuple[int, int, str], None] = Recent(600)


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """The answer to a poll: the next poll time, the pending action, if any, and whether a command is pending."""

    next_s: int
    assignment: Assignment | None = None
    command: bool = False


def poll_work(*, actor: Actor, device: Device, follows_metadata: bool = False) -> PollAnswer:
    """Return the pending work of a device; write nothing.

    An action that an operator cancels is shown until the device has answered, even if it may receive nothing else.

    Args:
        actor: the device.
        device: the polling device.
        follows_metadata: its client verifies the update metadata: while their timestamp has expired it is offered
            nothing, because it would refuse the action, and never try it again.
    """
    actor.require_device(device.key)
    assignments = open_assignments(device)
    canceling = (one for one in assignments if one.status == Status.CANCELING)
    assignment = _first(device, assignments)
    if assignment is not None and follows_metadata and not signed.is_fresh(device.domain.slug):
        assignment = None
    assignment = assignment or next(canceling, None)
    return PollAnswer(settings.FLEET_POLL_S, assignment, commands.waiting_for(device).exists())


def current_offer(device: Device) -> Assignment | None:
    """Return the assignment that is offered to a device, or None.

    ``ota.selectors.eligibility.offer_reason`` decides.
    """
    return _first(device, open_assignments(device))


def _first(device: Device, assignments: list[Assignment]) -> Assignment | None:
    return next((assignment for assignment in assignments if not _is_withheld(device, assignment)), None)


def _is_withheld(device: Device, assignment: Assignment) -> bool:
    why = eligibility.offer_reason(device, assignment)
    if why and why.kind in BY_OFFICERS:
        extra = {"device": device.name, "bundle": str(assignment.bundle), "why": why.sentence, "code": why.kind.value}
        key = device.pk, assignment.bundle_id, why.sentence
        _logged.get(key, lambda: _logger.warning("not offered", extra=extra))
    return why is not None
