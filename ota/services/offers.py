"""Answer "anything for me?"."""

from dataclasses import dataclass

from django.conf import settings

from devices.models import Device
from ota.models import Assignment, Release, Rollout
from ota.selectors import parts
from ota.selectors.rollouts import open_assignments
from ota.services import commands
from ota.services.assignments import NOT_BEGUN, Kind
from pki.kernel.actor import Actor


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a poll: when to come again, the action that waits, if any, and whether a command does."""

    next_s: int
    assignment: Assignment | None = None
    command: bool = False


def poll(*, actor: Actor, device: Device) -> Offer:
    """Return what a device shall do now: nothing is written."""
    actor.require_device(device.key)
    assignment = current(device)
    return Offer(settings.FLEET_POLL_S, assignment, commands.waiting_for(device).exists())


def current(device: Device) -> Assignment | None:
    """Return the assignment that is offered to a device, or None.

    A quarantined device is offered its own repair only; a held or paused rollout withholds what has not begun, and a
    withdrawn release is offered no more.
    """
    return next((one for one in open_assignments(device) if _offered(device, one)), None)


def _offered(device: Device, assignment: Assignment) -> bool:
    if assignment.kind == Kind.REPAIR:
        return True
    rollout = assignment.rollout
    if rollout is not None and rollout.release.state == Release.State.WITHDRAWN:
        return False
    if parts.stopped(assignment.bundle):
        return False  # a part was withdrawn: nobody is brought what officers are about to take back
    running = rollout is None or rollout.state == Rollout.State.RUNNING
    return not device.quarantined and (running or assignment.status not in NOT_BEGUN)
