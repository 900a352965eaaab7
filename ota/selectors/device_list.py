"""The list of devices, with what only rollouts know of them."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet

from devices import selectors
from devices.models import Device
from ota.models import Assignment
from pki.kernel.actor import Actor
from pki.kernel.filters import yes_no


@dataclass(frozen=True, slots=True)
class FleetFilter(selectors.DeviceFilter):
    """Which devices are asked for; every field that is given has to match."""

    updating: str = yes_no("Whether it has been offered something that it has not ended.", "Assignment")


def fleet(*, actor: Actor, wanted: FleetFilter = FleetFilter()) -> QuerySet[Device]:
    """Return the devices that match, by name."""
    rows = selectors.devices(actor=actor, wanted=wanted)
    if not wanted.updating:
        return rows
    begun = Assignment.objects.filter(device=OuterRef("pk"), closed_at__isnull=True)
    begun = begun.exclude(status=Assignment.Status.WAITING)
    return rows.filter(Exists(begun) if wanted.updating == "yes" else ~Exists(begun))
