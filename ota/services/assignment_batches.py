"""Write the assignments of many devices at once; every call belongs to one short transaction of its caller.

Locks are taken in one order everywhere: rollout, assignments by id, twins. Nothing here asks the database once for each
device.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from devices.models import Device
from devices.services import twins
from ota.models import Assignment, AssignmentEvent, Bundle, Rollout
from ota.selectors import parts
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.models import quick
from pki.services import changes

Status = Assignment.Status
#: most devices of one transaction: an offer writes up to five rows for each, a cancellation three, a plan one
OFFERED, CANCELED, PLANNED = 200, 300, 1000
#: states in which a device can never report again
GONE = frozenset({Device.State.RETIRED, Device.State.RETURNED})
CANCELED_BY_OPERATOR = "canceled by an operator"


@dataclass(frozen=True, slots=True)
class _Row:
    """An open assignment, as far as it is needed here."""

    pk: int
    action_id: int
    device: int
    bundle: int
    status: str


def plan(rollout: Rollout, placed: Sequence[tuple[int, int]], numbers: Sequence[int]) -> None:
    """Add waiting assignments to a rollout that is preparing.

    Args:
        rollout: with its release.
        placed: internal ids of wave and device.
        numbers: action ids, one for each of them.
    """
    stamp, now = clock.unix() & 0x7FFF_FFFF, clock.now()
    shared = (rollout.domain_id, rollout.pk, rollout.release.bundle_id, Assignment.Kind.UPDATE.value)
    rows = [
        (*shared, wave, device, number, Status.WAITING.value, stamp, now, now)
        for (wave, device), number in zip(placed, numbers, strict=True)
    ]
    names = ("domain_id", "rollout_id", "bundle_id", "kind", "wave_id", "device_id", "action_id", "status")
    quick.create_many(Assignment, (*names, "content_stamp", "created_at", "updated_at"), rows)


def offer(actor: Actor, bundle: Bundle, previous: Mapping[int, int | None]) -> None:
    """Offer waiting assignments to their devices; an older open one for the same component gives way.

    One of a device that was retired or returned since the rollout was planned is canceled instead: it would never end.

    Args:
        actor: an operator, or the server's own job.
        bundle: of all these assignments.
        previous: internal id of an assignment to that of the bundle that its device runs now.
    """
    devices = list(Assignment.objects.filter(pk__in=list(previous)).values_list("device_id", flat=True))
    rows = _locked(Assignment.objects.filter(device_id__in=devices, closed_at__isnull=True))
    known = {pk: (str(key), state) for pk, key, state in
             Device.objects.filter(pk__in=devices).values_list("pk", "public_id", "state")}  # fmt: skip
    wanted = [one for one in rows if one.pk in previous and one.status == Status.WAITING]
    lost = {one.pk: known[one.device][1] for one in wanted if known[one.device][1] in GONE}
    ready = [one for one in wanted if one.pk not in lost]
    _end({pk: f"the device is {state}" for pk, state in lost.items()})
    _end(_replaced(bundle, ready, rows))
    now = clock.now()
    offered = [(previous[one.pk], Status.SCHEDULED.value, now, one.pk) for one in ready]
    quick.update_many(Assignment, ("previous_bundle_id", "status", "updated_at"), offered)
    _desire(actor, bundle, ready)
    _note(known[one.device][0] for one in ready)


def cancel(keys: Sequence[int]) -> None:
    """Cancel assignments by internal id: what was not fetched yet ends at once, the others are asked to give up."""
    rows = _locked(Assignment.objects.filter(pk__in=list(keys), closed_at__isnull=True))
    ended = [one for one in rows if one.status in {Status.WAITING, Status.SCHEDULED}]
    _end({one.pk: CANCELED_BY_OPERATOR for one in ended})
    begun = [one.pk for one in rows if one not in ended and one.status != Status.CANCELING]
    Assignment.objects.filter(pk__in=begun).update(status=Status.CANCELING, updated_at=clock.now())
    # What waits is not offered, so that no answer to a device depends on it.
    offered = [one.device for one in ended if one.status != Status.WAITING]
    _note(map(str, Device.objects.filter(pk__in=offered).values_list("public_id", flat=True)))


def _locked(rows: QuerySet[Assignment]) -> list[_Row]:
    """Return assignments in the order of their ids, locked until the transaction ends."""
    found = rows.select_for_update().order_by("id")
    return [_Row(*one) for one in found.values_list("id", "action_id", "device_id", "bundle_id", "status")]


def _replaced(bundle: Bundle, ready: Sequence[_Row], rows: Sequence[_Row]) -> dict[int, str]:
    """Return the open assignments that give way, with the reason: they would write a component of this bundle."""
    by_device = {one.device: one for one in ready}
    older = [one for one in rows if one.status != Status.WAITING and one.device in by_device]
    bundles = Bundle.objects.in_bulk({one.bundle for one in older})
    ours = components(bundle)
    giving_way = {key for key, one in bundles.items() if ours & components(one)}
    return {
        one.pk: f"superseded by action {by_device[one.device].action_id}" for one in older if one.bundle in giving_way
    }


def components(bundle: Bundle) -> set[str]:
    """Return the components that a bundle writes."""
    return {bundle.component, *(part["component"] for part in bundle.facts.get("parts", []))}


def _end(reasons: Mapping[int, str]) -> None:
    """Cancel assignments for good, with one event each."""
    now, status = clock.now(), Status.CANCELED.value
    rows = [(status, reason[:500], now, now, pk) for pk, reason in reasons.items()]
    quick.update_many(Assignment, ("status", "reason", "updated_at", "closed_at"), rows)
    events = [(pk, now, status, reason) for pk, reason in reasons.items()]
    quick.create_many(AssignmentEvent, ("assignment_id", "at", "status", "text"), events)


def _desire(actor: Actor, bundle: Bundle, ready: Sequence[_Row]) -> None:
    wishes = []
    for one in parts.whole(bundle):
        wish = {"version": one.version, "counter": one.security_counter}
        wishes += [(row.device, one.component, {**wish, "action": row.action_id}) for row in ready]
    twins.desire_many(actor=actor, wishes=sorted(wishes, key=lambda wish: wish[0]))


def _note(keys: Iterable[str]) -> None:
    # Without a name the feed would say "everything".
    if named := list(keys):
        changes.note(*named)
