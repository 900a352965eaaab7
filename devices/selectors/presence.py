"""When devices were last heard. It lies in the telemetry database, because it changes with every poll."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from devices.models import Device, Incident, Presence
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted

#: polling intervals after which a device is late, and overdue
LATE, OVERDUE = 1.5, 3
PRESENCES = ("online", "late", "overdue", "never")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many devices of a domain are in which condition; every enrolled device is in one presence."""

    devices: int
    online: int
    late: int
    overdue: int
    never: int
    quarantined: int
    open_incidents: int


def presences(rows: Iterable[Device], seen: Mapping[int, datetime] | None = None) -> dict[int, str]:
    """Return online, late, overdue or never for each device, by its internal id.

    Args:
        rows: the devices.
        seen: what ``last_seen`` says of them, where the caller has asked already.
    """
    keys = [row.id for row in rows]
    known, now = last_seen(keys) if seen is None else seen, clock.now()
    return {key: _presence(known.get(key), now) for key in keys}


def last_seen(keys: Iterable[int]) -> dict[int, datetime]:
    """Return when each of these devices was last heard, for those that ever were."""
    rows = Presence.objects.filter(device_id__in=list(keys))
    return dict(rows.values_list("device_id", "last_seen"))


def presence_of(device: Device) -> Presence | None:
    """Return when and from where a device was last heard, or None if it never was."""
    return Presence.objects.filter(device_id=device.pk).first()


def with_presence(rows: QuerySet[Device], word: str) -> QuerySet[Device]:
    """Return those of the devices that are online, late, overdue or were never heard."""
    return rows.filter(id__in=[key for key, found in presences(rows).items() if found == word])


def device_counts(*, actor: Actor) -> Counts:
    """Return the numbers of the overview page."""
    known = permitted(actor, Action.READ, Device.objects.all())
    open_ones = permitted(actor, Action.READ, Incident.objects.all()).filter(state=Incident.State.OPEN)
    rows = list(known.exclude(state=Device.State.RETIRED).only("id"))
    words = list(presences(rows).values())
    return Counts(
        devices=len(rows),
        online=words.count("online"),
        late=words.count("late"),
        overdue=words.count("overdue"),
        never=words.count("never"),
        quarantined=known.filter(quarantined_at__isnull=False).count(),
        open_incidents=open_ones.count(),
    )


def _presence(seen: datetime | None, now: datetime) -> str:
    if seen is None:
        return "never"
    interval = timedelta(seconds=max(settings.FLEET_POLL_S, 5))
    if now - seen <= interval * LATE:
        return "online"
    return "late" if now - seen <= interval * OVERDUE else "overdue"
