"""Repairs of devices with incidents: which are done, and which rollouts wait for them."""

from django.db.models import Exists, OuterRef, QuerySet

from devices.models import Incident
from ota.models import Assignment, Rollout
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted_rows


def repaired_incidents(*, actor: Actor) -> QuerySet[Incident]:
    """Return the open incidents of devices that have finished a repair, for this incident or for an earlier one.

    A thousand incidents may stay open for weeks; only those of these few devices are loaded.
    """
    finished = Assignment.objects.filter(
        device=OuterRef("device"), kind=Assignment.Kind.REPAIR, status=Assignment.Status.FINISHED
    )
    rows = permitted_rows(actor, Action.READ, Incident.objects.all()).filter(
        Exists(finished), state=Incident.State.OPEN
    )
    return rows.select_related("device", "domain")


def repair_is_done(*, actor: Actor, number: int) -> bool:
    """Return whether the device has installed and confirmed the repair with this action number."""
    rows = permitted_rows(actor, Action.READ, Assignment.objects.all())
    return rows.filter(action_id=number, status=Assignment.Status.FINISHED).exists()


def rollouts_held_for(*, actor: Actor, key: str) -> QuerySet[Rollout]:
    """Return the rollouts that are held for an incident, by its public id."""
    rows = permitted_rows(actor, Action.READ, Rollout.objects.all())
    return rows.filter(state=Rollout.State.HELD, hold_key=key).select_related("release__bundle", "domain")
