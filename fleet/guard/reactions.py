"""Automatic reactions to an incident: quarantine, hold the rollout, roll the device back; later release the device."""

import logging

from django.conf import settings
from django.db import transaction

from devices.incident_documents import Reaction
from devices.models import Device, Incident
from devices.selectors import get_device as device_of
from devices.services import incidents, quarantine
from fleet.guard import budgets
from ota.models import Rollout
from ota.selectors import repairs
from ota.selectors.rollouts import assignments_of
from ota.services import assignments, rollouts
from pki.kernel import actor as actors
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError
from pki.models import TrustDomain

#: kinds of incidents that no version causes: only people release such a device from quarantine
NOT_REPAIRED = frozenset({"fork"})
_logger = logging.getLogger(__name__)
#: setting -> detection layers whose incidents allow an automatic reaction
AUTOMATIC: dict[str, frozenset[str]] = {
    "off": frozenset(),
    "invariant": frozenset({"invariant"}),
    "corroborated": frozenset({"invariant", "corroborated"}),
}


def incident_opened(incident: Incident, domain: str, **_signal: object) -> None:
    """React to an incident that was opened or has become worse, as far as the setting and the budget permit."""
    actor = actors.system_actor(domain, "guard")
    if incident.reaction.get("quarantined"):
        return
    if incident.layer_now not in AUTOMATIC.get(settings.FLEET_GUARD_AUTOMATIC, frozenset()):
        incidents.record_reaction(actor=actor, incident=incident, reaction={"proposed": "quarantine and roll back"})
        return
    if not budgets.may_quarantine(incident.device):
        incidents.record_reaction(actor=actor, incident=incident, reaction={"stopped": "the hourly budget is used up"})
        return
    contain_device(actor=actor, incident=incident)


def contain_device(*, actor: Actor, incident: Incident) -> None:
    """Quarantine the device, hold its rollout, and roll it back to the previous version."""
    text = str(incident.explanation.get("text", ""))[:200]
    device = device_of(actor=actor, public_id=incident.device.public_id)
    with transaction.atomic():
        quarantine.quarantine_device(actor=actor, device=device, reason=f"incident: {text}")
        held = _hold(actor, incident, device)
        reaction: Reaction = {"quarantined": True, "held": held, "proposed": ""}
        if incident.explanation.get("kind") in NOT_REPAIRED:
            reaction["no_repair"] = (
                "No earlier version fixes this. Find the cause, then revoke the certificate or release the device."
            )
        else:
            reaction |= _sent_back(actor, device, f"incident: {text}")
        incidents.record_reaction(actor=actor, incident=incident, reaction=reaction)


def _sent_back(actor: Actor, device: Device, reason: str) -> Reaction:
    try:
        return {"repair": assignments.roll_device_back(actor=actor, device=device, reason=reason).action_id}
    except ConflictError as error:
        return {"no_repair": error.detail}


def release_repaired(*, domain: TrustDomain) -> list[Incident]:
    """Release devices from quarantine whose repair is confirmed; one leased job calls this."""
    actor = actors.system_actor(domain.slug, "guard")
    healed = []
    for incident in repairs.repaired_incidents(actor=actor):
        number = incident.reaction.get("repair")
        if number and repairs.repair_is_done(actor=actor, number=number):
            healed.append(_let_in(actor, incident))
    return healed


def _let_in(actor: Actor, incident: Incident) -> Incident:
    with transaction.atomic():
        closed = incidents.close(actor=actor, public_id=str(incident.public_id), verdict="healed")
        reason = "the previous version is installed and confirmed"
        quarantine.release_device(actor=actor, device=incident.device, reason=reason)
        incidents.record_reaction(actor=actor, incident=closed, reaction={"released": True})
        for rollout in repairs.rollouts_held_for(actor=actor, key=str(incident.public_id)):
            rollouts.resume(actor=actor, rollout=rollout)
    return closed


def _hold(actor: Actor, incident: Incident, device: Device) -> list[str]:
    """Hold the running rollouts that include this device; return their names."""
    held = []
    for assignment in assignments_of(device, limit=10):
        rollout = assignment.rollout
        if rollout is not None and rollout.state == Rollout.State.RUNNING:
            reason = f"{device.name} behaves abnormally since its update. An incident is open."
            rollouts.hold(actor=actor, rollout=rollout, reason=reason, key=str(incident.public_id))
            held.append(rollout.name)
    return held
