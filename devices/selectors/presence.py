"""Last contacts of devices, and numbers of devices that are online, late, overdue or were never seen.

The word is in the main database (``Device.presence``) and changes only when a device's presence changes
(``devices.services.presence_words``). The time itself is in the telemetry database, where it changes with each
contact; it is read for the devices of one page.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from devices.contact_words import PRESENCES
from devices.models import Device, FleetCount, Presence
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted_rows


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of a domain's devices by state; each device in service has one presence."""

    devices: int
    online: int
    late: int
    overdue: int
    never: int
    quarantined: int
    open_incidents: int


def last_seen(keys: Iterable[int]) -> dict[int, datetime]:
    """Return the last contact of each of these devices that had one; for the devices of one page."""
    rows = Presence.objects.filter(device_id__in=list(keys))
    return dict(rows.values_list("device_id", "last_seen"))


def presence_of(device: Device) -> Presence | None:
    """Return time and address of a device's last contact, or None if it had none."""
    return Presence.objects.filter(device_id=device.pk).first()


def device_counts(*, actor: Actor) -> Counts:
    """Return the numbers of the overview page: sums of few rows, for any number of devices."""
    changes = permitted_rows(actor, Action.READ, FleetCount.objects.all()).order_by()
    kept = dict(changes.values_list("kind").annotate(many=Sum("delta")))
    counted = {kind: kept.get(kind, 0) for kind in FleetCount.Kind.values}
    return Counts(devices=sum(counted[word] for word in PRESENCES), **counted)
