"""Update assignments from device feedback (our protocol or DDI) and operator actions."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from devices import metrics
from devices.models import Device
from devices.services import presence, twins
from ota.models import Assignment, AssignmentEvent, Bundle
from ota.selectors import parts
from ota.selectors.signed import bundle_refusal
from ota.services import proofs, status_counts
from ota.trust import protection
from pki.kernel import clock, intake
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, NotFoundError
from pki.kernel.permissions import Action, permitted_rows, require_on
from pki.services import changes, ledger, numbers

Status = Assignment.Status
Kind = Assignment.Kind
#: texts kept of one assignment; more are dropped, never refused
MOST_EVENTS = 200
MOST_TEXTS = 50
LONGEST_TEXT = 2000
#: kinds that a repair passes over when it is unknown what ran before; a composite it does not: its parts changed too
_ALONE = [Bundle.Kind.FIRMWARE, Bundle.Kind.MODEL, Bundle.Kind.CONFIG]
#: statuses that end an assignment
ENDS = frozenset({Status.FINISHED, Status.ERROR, Status.CANCELED})


@dataclass(frozen=True, slots=True)
class Feedback:
    """A device's feedback on an action.

    Args:
        status: the current one.
        texts: messages, cut to what is kept.
        reason: the short cause when it failed.
    """

    status: str
    texts: Sequence[str] = ()
    reason: str = ""


def of_device(device: Device, action_id: int) -> Assignment:
    """Return an assignment of this device.

    Raises:
        NotFoundError: the action is unknown or another device's.
    """
    rows = Assignment.objects.select_related("bundle", "rollout", "device")
    assignment = rows.filter(device=device, action_id=action_id).exclude(status=Status.WAITING).first()
    if assignment is None:
        msg = "This device has no such action."
        raise NotFoundError(msg)
    return assignment


def note_retrieved(*, actor: Actor, device: Device, action_id: int) -> Assignment:
    """Record that a device has fetched an open action by its vendor's protocol.

    Raises:
        NotFoundError: not this device's action, or it has ended.
    """
    actor.require_device(device.key)
    assignment = of_device(device, action_id)
    if not assignment.open:
        msg = "This action has ended."
        raise NotFoundError(msg)
    proofs.note_protocol(actor=actor, device=device, client=protection.DDI, name="deployment")
    if assignment.status == Status.SCHEDULED:
        _move(assignment, Status.RETRIEVED)
    return assignment


def store_feedback(*, actor: Actor, device: Device, action_id: int, said: Feedback) -> Assignment:
    """Store a device's feedback on an action.

    Feedback after the end is stored, but never reopens the action or changes its result.

    Raises:
        NotFoundError: not this device's action.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        assignment = Assignment.objects.select_for_update(of=("self",)).get(pk=of_device(device, action_id).pk)
        begun = assignment.events.first()
        _tell(assignment, said.status, said.texts)
        if not assignment.open:
            return assignment
        if said.status in ENDS:
            _end(assignment, said.status, said.reason)
            detail = {"device": device.key, "status": str(said.status), "reason": said.reason[:200]}
            ledger.record(actor=actor, action="assignment.ended", thing=("action", action_id), detail=detail)
        elif said.status == Status.WARNING or assignment.status != Status.CANCELING:
            _move(assignment, said.status)
    _measure(assignment, begun)
    return assignment


def _measure(assignment: Assignment, begun: AssignmentEvent | None) -> None:
    """Record the duration or the failure of a finished installation as behaviour of the device."""
    if assignment.status == Status.ERROR:
        presence.note_measured(assignment.device_id, metrics.INSTALL_FAILURES, 1.0)
    elif assignment.status == Status.FINISHED and begun is not None and assignment.closed_at is not None:
        took = (assignment.closed_at - begun.at).total_seconds()
        presence.note_measured(assignment.device_id, metrics.INSTALL_TIME, took)


def cancel_assignment(*, actor: Actor, assignment: Assignment) -> Assignment:
    """Send a device the cancellation of an action; an action that it has not fetched ends at once."""
    with transaction.atomic():
        rows = Assignment.objects.select_for_update(of=("self",))
        locked = require_on(actor, Action.CANCEL_ASSIGNMENT, rows, assignment)
        if not locked.open:
            msg = "The action has already ended."
            raise ConflictError(msg)
        if locked.status in {Status.WAITING, Status.SCHEDULED}:
            _end(locked, Status.CANCELED, "canceled by an operator")
        else:
            _move(locked, Status.CANCELING)
        ledger.record(actor=actor, action="assignment.canceled", thing=("action", locked.action_id))
    return locked


def roll_device_back(*, actor: Actor, device: Device, reason: str) -> Assignment:
    """Roll a device back to the bundle before its newest update; the update counts as failed.

    Raises:
        ConflictError: there is no update, or what ran before is unknown.
    """
    updates = permitted_rows(actor, Action.REPAIR_DEVICE, Assignment.objects.filter(kind=Kind.UPDATE))
    with transaction.atomic():
        update = (
            updates.select_for_update(of=("self",))
            .filter(device=device)
            .exclude(previous_bundle=None, bundle__kind__in=_ALONE)
            .exclude(status__in=[Status.WAITING, Status.ERROR, Status.CANCELED])
            .order_by("-id")
            .first()
        )
        if update is None or update.previous_bundle is None:
            msg = "The previous bundle of this device is unknown. Roll out the target bundle instead."
            raise ConflictError(msg)
        if why := bundle_refusal(update.previous_bundle, device):
            msg = f"The device cannot roll back to its previous bundle, {update.previous_bundle}: {why}."
            raise ConflictError(msg)
        _end(update, Status.ERROR, f"rolled back: {reason}"[:500])
        back = Assignment.objects.create(
            domain=update.domain,
            action_id=numbers.following_small(domain=update.domain, name="ddi-action"),
            device=device,
            bundle=update.previous_bundle,
            kind=Kind.REPAIR,
            status=Status.SCHEDULED,
            reason=reason[:500],
            previous_bundle=update.bundle,
            content_stamp=clock.unix() & 0x7FFF_FFFF,
        )
        changes.note_changes(device.key)
        _desire(actor, back)
        detail = {"device": device.key, "bundle": back.bundle.digest, "reason": reason[:200]}
        ledger.record(actor=actor, action="device.repair", thing=("action", back.action_id), detail=detail)
    return back


def _desire(actor: Actor, assignment: Assignment) -> None:
    """Set the device's target in its twin: for a composite also each part."""
    for part in parts.bundle_and_parts(assignment.bundle):
        wish = {"version": part.version, "counter": part.security_counter, "action": assignment.action_id}
        twins.set_target(actor=actor, device=assignment.device, component=part.component, wish=wish)


def _move(assignment: Assignment, status: str) -> None:
    assignment.status = status
    assignment.updated_at = clock.now()
    assignment.save(update_fields=["status", "updated_at"])


def _end(assignment: Assignment, status: str, reason: str) -> None:
    short = intake.kept_text(reason, 500)
    failed = status == Status.ERROR
    assignment.status = status
    assignment.reason = status_counts.counted_cause(assignment=assignment, cause=short) if failed else short
    assignment.updated_at = assignment.closed_at = clock.now()
    assignment.save(update_fields=["status", "reason", "updated_at", "closed_at"])
    changes.note_changes(assignment.device.key)
    AssignmentEvent.objects.create(assignment=assignment, status=status, text=intake.kept_text(reason, LONGEST_TEXT))


def _tell(assignment: Assignment, status: str, texts: Sequence[str]) -> None:
    room = MOST_EVENTS - assignment.events.count()
    AssignmentEvent.objects.bulk_create(
        [
            AssignmentEvent(assignment=assignment, status=status, text=intake.kept_text(text, LONGEST_TEXT))
            for text in list(texts)[: min(MOST_TEXTS, max(room, 0))]
        ]
    )
