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
from pki.models import prepared_sql
from pki.services import changes

Status = Assignment.Status
#: most devices of one transaction, which writes at most 1,000 rows: an offer writes three for each device (five where
#: an older one gives way), a cancellation three, a plan one
OFFERED, OFFERED_BESIDE_OTHERS, CANCELED, PLANNED = 330, 200, 330, 1000
#: states in which a device can never report again
GONE = frozenset({Device.State.RETIRED, Device.State.RETURNED})
CANCELED_BY_OPERATOR = "canceled by an operator"


@dataclass(frozen=True, slots=True)
class _Row:
    """The needed fields of an open assignment."""

    pk: int
    action_id: int
    device: int
    bundle: int
    status: str


def plan_assignments(
    rollout: Rollout, placed: Sequence[tuple[int, int]], numbers: Sequence[int]
) -> prepared_sql.PreparedInsert:
    """Return waiting assignments to add to a rollout that is preparing (``quick.write_many``).

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
    return prepared_sql.prepare_many(Assignment, (*names, "content_stamp", "created_at", "updated_at"), rows)


def offer_batch(actor: Actor, bundle: Bundle, previous: Mapping[int, int | None]) -> int:
    """Offer waiting assignments to their devices; cancel an older open one for the same component.

    An assignment of a device that was retired or returned since the planning is canceled: it would never end.

    Args:
        actor: an operator, or the server's own job.
        bundle: of all these assignments.
        previous: internal id of an assignment to that of the bundle that its device runs now.

    Returns:
        The internal id of the last assignment that the transaction had room for.
    """
    # Lists of keys: before a new table's statistics are there, PostgreSQL would read all of a rollout for each range.
    chosen = Assignment.objects.filter(pk__in=list(previous), status=Status.WAITING)
    devices = list(chosen.order_by().values_list("device_id", flat=True))
    rows = _locked(Assignment.objects.filter(device_id__in=devices, closed_at__isnull=True))
    known = {pk: (str(key), state) for pk, key, state in
             Device.objects.filter(pk__in=devices).values_list("pk", "public_id", "state")}  # fmt: skip
    waiting = [row for row in rows if row.pk in previous and row.status == Status.WAITING]
    lost = {row.pk: known[row.device][1] for row in waiting if known[row.device][1] in GONE}
    ready = [row for row in waiting if row.pk not in lost]
    replaced = _replaced(bundle, ready, rows)
    if len(ready) > OFFERED_BESIDE_OTHERS and replaced:
        # Each of these writes two more rows: the next transaction continues.
        ready = ready[:OFFERED_BESIDE_OTHERS]
        replaced = _replaced(bundle, ready, rows)
        lost = {pk: state for pk, state in lost.items() if pk <= ready[-1].pk}
    _end({pk: f"the device is {state}" for pk, state in lost.items()})
    _end(replaced)
    _schedule(ready, previous)
    _desire(actor, bundle, ready)
    _note(known[row.device][0] for row in ready)
    return ready[-1].pk if len(ready) + len(lost) < len(waiting) else max(previous)


def cancel_assignments(keys: Sequence[int]) -> None:
    """Cancel assignments of a rollout: those not fetched end at once; the other devices receive a cancellation.

    Args:
        keys: internal ids.
    """
    rows = Assignment.objects.filter(pk__in=keys, closed_at__isnull=True)
    locked = _locked(rows)
    ended = [row.pk for row in locked if row.status in {Status.WAITING, Status.SCHEDULED}]
    now, status = clock.now(), Status.CANCELED.value
    events = [(pk, now, status, CANCELED_BY_OPERATOR) for pk in ended]
    prepared_sql.create_many(AssignmentEvent, ("assignment_id", "at", "status", "text"), events)
    # What waits is not offered, so that no answer to a device depends on it.
    if any(row.status == Status.SCHEDULED for row in locked):
        _note(map(str, rows.filter(status=Status.SCHEDULED).values_list("device__public_id", flat=True)))
    if len(ended) < len(locked):
        begun = rows.exclude(status__in=[Status.WAITING, Status.SCHEDULED, Status.CANCELING])
        begun.update(status=Status.CANCELING, updated_at=now)
    facts = {"status": status, "reason": CANCELED_BY_OPERATOR, "updated_at": now, "closed_at": now}
    rows.filter(status__in=[Status.WAITING, Status.SCHEDULED]).update(**facts)


def _locked(rows: QuerySet[Assignment]) -> list[_Row]:
    """Return assignments in the order of their ids, locked until the transaction ends."""
    assignments = rows.select_for_update().order_by("id")
    return [_Row(*values) for values in assignments.values_list("id", "action_id", "device_id", "bundle_id", "status")]


def _schedule(ready: Sequence[_Row], previous: Mapping[int, int | None]) -> None:
    """Offer assignments, with one statement per bundle: devices run few different bundles."""
    facts = {"status": Status.SCHEDULED.value, "updated_at": clock.now()}
    for bundle in {previous[row.pk] for row in ready}:
        keys = [row.pk for row in ready if previous[row.pk] == bundle]
        Assignment.objects.filter(pk__in=keys).update(previous_bundle_id=bundle, **facts)


def _replaced(bundle: Bundle, ready: Sequence[_Row], rows: Sequence[_Row]) -> dict[int, str]:
    """Return the open assignments for a component of this bundle, with the reason of their cancellation."""
    by_device = {row.device: row for row in ready}
    older = [row for row in rows if row.status != Status.WAITING and row.device in by_device]
    bundles = Bundle.objects.in_bulk({row.bundle for row in older})
    ours = bundle_component_names(bundle)
    giving_way = {key for key, one in bundles.items() if ours & bundle_component_names(one)}
    return {
        row.pk: f"superseded by action {by_device[row.device].action_id}" for row in older if row.bundle in giving_way
    }


def bundle_component_names(bundle: Bundle) -> set[str]:
    """Return the components that a bundle writes."""
    return {bundle.component, *(part["component"] for part in bundle.facts.get("parts", []))}


def _end(reasons: Mapping[int, str]) -> None:
    """Cancel assignments finally, with one event each."""
    now, status = clock.now(), Status.CANCELED.value
    rows = [(status, reason[:500], now, now, pk) for pk, reason in reasons.items()]
    prepared_sql.update_many(Assignment, ("status", "reason", "updated_at", "closed_at"), rows)
    events = [(pk, now, status, reason) for pk, reason in reasons.items()]
    prepared_sql.create_many(AssignmentEvent, ("assignment_id", "at", "status", "text"), events)


def _desire(actor: Actor, bundle: Bundle, ready: Sequence[_Row]) -> None:
    actions = {row.device: row.action_id for row in ready}
    for part in parts.bundle_and_parts(bundle):
        wish = {"version": part.version, "counter": part.security_counter}
        twins.desire_many(actor=actor, component=part.component, wish=wish, actions=actions)


def _note(keys: Iterable[str]) -> None:
    # Without a name the feed would announce a change of all devices.
    if named := list(keys):
        changes.note_changes(*named)
