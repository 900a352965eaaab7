"""The list of devices, with their rollout state."""

from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery, Sum, Value

from devices import selectors
from devices.models import Device
from ota.models import Assignment, StatusCount
from pki.kernel.actor import Actor
from pki.kernel.filters import yes_no
from pki.kernel.permissions import Action, permitted_rows
from pki.models import TrustDomain

#: statuses of updates that have begun and not ended
BEGUN = (
    *(Assignment.Status.SCHEDULED, Assignment.Status.RETRIEVED, Assignment.Status.RUNNING, Assignment.Status.DOWNLOAD),
    *(
        Assignment.Status.DOWNLOADED,
        Assignment.Status.INSTALLED,
        Assignment.Status.WARNING,
        Assignment.Status.CANCELING,
    ),
)
#: so many updates are listed at most to find the devices of a page
FEW_UPDATES = 10_000
#: fields of a device and its related rows that lists show to programs
_SHOWN = (
    *("public_id", "name", "state", "presence", "quarantined_at", "quarantine_reason", "site", "owner", "tags"),
    *("audience", "enrolled_at", "hardware_model__name", "parent__name", "twin__reported", "twin__desired"),
)


@dataclass(frozen=True, slots=True)
class FleetFilter(selectors.DeviceFilter):
    """The filter of the device list; every given field must match."""

    updating: str = yes_no("Whether an update is in progress.", "Assignment")


def updating_devices(*, actor: Actor) -> QuerySet[Assignment, int]:
    """Return the internal ids of the devices with an update that has not ended."""
    rows = permitted_rows(actor, Action.READ, Assignment.objects.all()).filter(closed_at__isnull=True)
    rows = rows.exclude(status=Assignment.Status.WAITING)
    return rows.order_by().values_list("device_id", flat=True).distinct()


def count_updates(*, actor: Actor) -> int:
    """Return how many updates have begun and not ended, from the kept counts; those of no rollout are counted."""
    kept = permitted_rows(actor, Action.READ, StatusCount.objects.all(), "rollout__domain").filter(status__in=BEGUN)
    alone = permitted_rows(actor, Action.READ, Assignment.objects.all()).filter(rollout__isnull=True, status__in=BEGUN)
    # One number each, in one query.
    sums = kept.order_by().annotate(one=Value(1)).values("one").annotate(there=Sum("devices")).values("there")
    count = alone.order_by().annotate(one=Value(1)).values("one").annotate(there=Count("pk")).values("there")
    rows = TrustDomain.objects.filter(slug=actor.domain).values_list(Subquery(sums), Subquery(count))
    return sum(int(number or 0) for row in rows for number in row)


def list_fleet(*, actor: Actor, wanted: FleetFilter = FleetFilter()) -> QuerySet[Device]:
    """Return the devices that match, by name."""
    rows = selectors.list_devices(actor=actor, wanted=wanted)
    if not wanted.updating:
        return rows
    begun = updating_devices(actor=actor)
    if count_updates(actor=actor) > FEW_UPDATES:
        # Looked for device by device: a page is full long before all that update would have been listed.
        updates = Exists(begun.filter(device=OuterRef("pk")))
        return rows.filter(updates if wanted.updating == "yes" else ~updates)
    return rows.filter(id__in=begun) if wanted.updating == "yes" else rows.exclude(id__in=begun)


def identified_fleet(*, actor: Actor, wanted: FleetFilter = FleetFilter()) -> QuerySet[Device]:
    """Return the devices that match, with their verified hardware identities.

    Of hardware model, gateway and twin only what lists show is read: a page may have 500 devices, and documents that
    nobody asked for would be half of its work.
    """
    rows = (
        list_fleet(actor=actor, wanted=wanted).select_related(None).select_related("hardware_model", "parent", "twin")
    )
    return rows.only(*_SHOWN).prefetch_related("identities")
