"""Incidents: flagged changes of behaviour."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from devices.models import Device, Incident
from devices.selectors.registry import device_referred
from pki.kernel.actor import Actor
from pki.kernel.filters import choice_field, reference_field
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors.finding import one_by_id

#: columns that a list of incidents shows
_LISTED = (
    *("public_id", "device__name", "state", "layer", "severity", "score", "explanation", "reaction", "verdict"),
    *("opened_at", "closed_at"),
)


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """The filter of the incident list."""

    state: str = choice_field("Whether the incident is open or closed.", Incident.State.values, "Incident.state")
    device: str = reference_field("The device that the incident concerns.", "Incident.device")


def list_incidents(*, actor: Actor, wanted: IncidentFilter = IncidentFilter()) -> QuerySet[Incident]:
    """Return the incidents that match, newest first."""
    rows = permitted_rows(actor, Action.READ, Incident.objects.all())
    if wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.device:
        rows = rows.filter(device=device_referred(actor=actor, word=wanted.device))
    return rows.select_related("device", "device__hardware_model", "domain").order_by("-id")


def listed_incidents(*, actor: Actor, wanted: IncidentFilter = IncidentFilter()) -> QuerySet[Incident]:
    """Return the incidents that match, newest first, with only the name of each device."""
    return list_incidents(actor=actor, wanted=wanted).select_related(None).select_related("device").only(*_LISTED)


def incidents_of(*, actor: Actor, device: Device) -> QuerySet[Incident]:
    """Return the incidents of a device, newest first."""
    return list_incidents(actor=actor).filter(device=device)


def quarantined_since(device: Device, since: datetime) -> int:
    """Return how many devices of a device's hardware model incidents have quarantined.

    Args:
        device: of whose hardware model.
        since: incidents that were opened after this time count.
    """
    recent = Incident.objects.filter(domain=device.domain_id, opened_at__gt=since, reaction__has_key="quarantined")
    return recent.filter(device__hardware_model=device.hardware_model_id).count()


def has_same_hardware(device: Device, least: int) -> bool:
    """Return whether a device's hardware model has at least so many devices; no more than these are read."""
    same_model = Device.objects.filter(domain=device.domain_id, hardware_model=device.hardware_model_id)
    return same_model[:least].count() == least


def get_incident(*, actor: Actor, public_id: str | UUID) -> Incident:
    """Return an incident by its public id.

    Raises:
        NotFoundError: the actor sees none of that id.
    """
    return one_by_id(list_incidents(actor=actor), public_id, "incident")
