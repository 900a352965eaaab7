"""Send a device one of a few fixed commands: signed in the director's document, short-lived, never a shell."""

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet

from devices.models import Device
from devices.services import distrust
from ota.models import Command
from pki.kernel import clock, intake
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from pki.kernel.permissions import Action, permitted_rows, pick_one, require_on
from pki.models import TrustDomain
from pki.services import changes, ledger

State = Command.State
ANSWERS = frozenset({State.DONE, State.FAILED, State.REFUSED})
LEAST_MINUTES, MOST_MINUTES = 5, 7 * 24 * 60
LONGEST_RESULT = 500
#: first word of the answer to ``re-attest`` of a device that finds other bytes than the installed ones
MISMATCH = "mismatch"


def queue_command(*, actor: Actor, device: Device, kind: str, reason: str, minutes: int = 60) -> Command:
    """Queue a command for a device; an identical pending command is returned unchanged.

    Args:
        actor: an operator or security officer.
        device: in service; quarantined or not.
        kind: of ``Command.Kind``.
        reason: recorded in the audit log.
        minutes: until it is void.

    Raises:
        InvalidError: an unknown word, no reason, or an end that is too near or too far.
        ConflictError: the device is out of service.
    """
    devices = permitted_rows(actor, Action.COMMAND_DEVICE, Device.objects.all())
    _check(kind, reason, minutes)
    with transaction.atomic():
        device = pick_one(devices.select_for_update(of=("self",)), device)
        if device.state != Device.State.ACTIVE:
            msg = f"A device that is {device.state} cannot receive commands."
            raise ConflictError(msg)
        waiting = Command.objects.filter(device=device, kind=kind, closed_at__isnull=True).first()
        if waiting is not None and waiting.expires_at > clock.now():
            return waiting
        if waiting is not None:
            _close(waiting, State.EXPIRED, "")
        command = Command.objects.create(
            domain_id=device.domain_id,
            device=device,
            kind=kind,
            reason=reason.strip()[:300],
            created_by=actor.key[:120],
            expires_at=clock.now() + timedelta(minutes=minutes),
        )
        changes.note_changes(device.key)
        detail = {"device": device.key, "kind": kind, "reason": command.reason}
        ledger.record(actor=actor, action="command.given", thing=("command", command.key), detail=detail)
    return command


def waiting_for(device: Device) -> QuerySet[Command]:
    """Return the pending commands of a device, oldest first."""
    rows = Command.objects.filter(device=device, closed_at__isnull=True, expires_at__gt=clock.now())
    return rows.order_by("id")


def note_delivered(*, actor: Actor, device: Device) -> None:
    """Record that a device has fetched its pending commands."""
    actor.require_device(device.key)
    waiting_for(device).filter(state=State.WAITING).update(state=State.DELIVERED)


def answer_command(*, actor: Actor, device: Device, public_id: str, state: str, result: str) -> Command:
    """Store a device's answer to a command; the same answer again changes nothing.

    Raises:
        NotFoundError: no such command for this device.
        InvalidError: the state is not one that a device may report.
        ConflictError: it has another answer already, or is over.
    """
    actor.require_device(device.key)
    if state not in ANSWERS:
        msg = f"`state` must be one of {', '.join(sorted(ANSWERS))}."
        raise InvalidError(msg)
    with transaction.atomic():
        command = Command.objects.select_for_update().filter(device=device, public_id=public_id).first()
        if command is None:
            msg = "There is no such command for this device."
            raise NotFoundError(msg)
        if command.closed_at is not None:
            if command.state == state:
                return command
            msg = f"The command is already {command.state}."
            raise ConflictError(msg)
        _close(command, State(state), result)
        if command.kind == Command.Kind.RE_ATTEST and state == State.FAILED and result.startswith(MISMATCH):
            distrust.report_unattested(actor=actor, device=device, reason=result)
        detail = {"device": device.key, "kind": command.kind, "state": state}
        ledger.record(actor=actor, action="command.answered", thing=("command", command.key), detail=detail)
    return command


def cancel(*, actor: Actor, command: Command) -> Command:
    """Cancel a command; a command that the device has started is not undone. Repeating this changes nothing."""
    with transaction.atomic():
        rows = Command.objects.select_for_update(of=("self",)).select_related("device")
        locked = require_on(actor, Action.CANCEL_COMMAND, rows, command)
        if locked.closed_at is None:
            _close(locked, State.CANCELED, "")
            ledger.record(actor=actor, action="command.canceled", thing=("command", locked.key))
    return locked


def expired_commands(domain: TrustDomain) -> QuerySet[Command]:
    """Return the open commands of a domain whose time is over, the oldest end first."""
    rows = Command.objects.filter(domain=domain, closed_at__isnull=True, expires_at__lte=clock.now())
    return rows.order_by("expires_at")


def expire_commands(*, domain: TrustDomain) -> int:
    """Close expired commands (a leased job); return how many."""
    closed = 0
    for key in list(expired_commands(domain).values_list("pk", flat=True)[:1000]):
        with transaction.atomic():
            locked = Command.objects.select_for_update(of=("self",)).select_related("device")
            late = locked.filter(pk=key, closed_at__isnull=True).first()
            if late is not None:  # otherwise its answer arrived at this moment
                _close(late, State.EXPIRED, "")
                closed += 1
    return closed


def _close(command: Command, state: Command.State, result: str) -> None:
    command.state, command.result, command.closed_at = state, intake.kept_text(result, LONGEST_RESULT), clock.now()
    command.save(update_fields=["state", "result", "closed_at"])
    changes.note_changes(command.device.key)


def _check(kind: str, reason: str, minutes: int) -> None:
    if kind not in Command.Kind.values:
        msg = f"A command must be one of {', '.join(Command.Kind.values)}."
        raise InvalidError(msg)
    if not reason.strip():
        msg = "Give a reason. It is recorded in the audit log."
        raise InvalidError(msg)
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        msg = f"A command's lifetime must be {LEAST_MINUTES} to {MOST_MINUTES} minutes."
        raise InvalidError(msg)
