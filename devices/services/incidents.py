"""Open, extend and close incidents."""

from django.db import transaction

from devices.incident_documents import Explanation, Reaction
from devices.models import Device, FleetCount, Incident
from devices.services import fleet_counts
from devices.signals import incident_opened
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, permitted_rows, require_on
from pki.selectors.finding import one_by_id
from pki.services import ledger


def raise_for(*, actor: Actor, device: Device, severity: str, explanation: Explanation) -> Incident:
    """Open an incident, or extend the one that is open for this device: one incident per change.

    Args:
        actor: the drift job.
        device: whose behaviour changed.
        severity: low, medium or high.
        explanation: the record of ``devices.incident_documents.Explanation``.
    """
    rows = permitted_rows(actor, Action.OPEN_INCIDENT, Incident.objects.all())
    with transaction.atomic():
        incident = rows.select_for_update(of=("self",)).filter(device=device, state=Incident.State.OPEN).first()
        if incident is not None:
            return _extend(incident, severity, explanation)
        incident = Incident.objects.create(
            domain=device.domain,
            device=device,
            layer=explanation["layer"],
            severity=severity,
            score=float(explanation["score"]),
            explanation=explanation,
        )
        fleet_counts.note_count(incident.domain_id, FleetCount.Kind.OPEN_INCIDENTS, 1)
        detail = {"device": device.key, "severity": severity, "layer": incident.layer}
        ledger.record(actor=actor, action="incident.opened", thing=("incident", incident.public_id), detail=detail)
        transaction.on_commit(lambda: _tell(incident, actor.domain))
    return incident


def open_critical(*, domain: str, device: Device, by: str, layer: str, kind: str, text: str) -> Incident:
    """Open a critical incident for an event that is not a measurement.

    Args:
        domain: the slug of the device's domain.
        device: whose behaviour or state is strange.
        by: which part of the system noticed it.
        layer: of the incident.
        kind: what it is.
        text: one sentence for people.
    """
    explanation: Explanation = {
        "device": device.name,
        "opened": clock.now().isoformat(),
        "layer": layer,
        "kind": kind,
        "score": 0.0,
        "metrics": [],
        "novel": [],
        "peers": [],
        "text": text,
    }
    return raise_for(actor=actors.system_actor(domain, by), device=device, severity="high", explanation=explanation)


def record_reaction(*, actor: Actor, incident: Incident, reaction: Reaction) -> Incident:
    """Record on the incident what was done about it."""
    with transaction.atomic():
        rows = Incident.objects.select_for_update(of=("self",))
        incident.reaction = {**require_on(actor, Action.OPEN_INCIDENT, rows, incident).reaction, **reaction}
        incident.save(update_fields=["reaction"])
    return incident


def close(*, actor: Actor, public_id: str, verdict: str) -> Incident:
    """Close an incident with a verdict.

    Raises:
        ConflictError: it is closed already.
        InvalidError: the verdict is not one of true, benign, false, healed.
    """
    rows = permitted_rows(actor, Action.CLOSE_INCIDENT, Incident.objects.select_related("device"))
    if verdict not in Incident.Verdict.values:
        msg = f"The verdict must be one of {', '.join(Incident.Verdict.values)}."
        raise InvalidError(msg)
    with transaction.atomic():
        incident = one_by_id(rows.select_for_update(of=("self",)), public_id, "incident")
        if incident.state == Incident.State.CLOSED:
            msg = "The incident is already closed."
            raise ConflictError(msg)
        incident.state = Incident.State.CLOSED
        incident.verdict = verdict
        incident.closed_at = clock.now()
        incident.save(update_fields=["state", "verdict", "closed_at"])
        fleet_counts.note_count(incident.domain_id, FleetCount.Kind.OPEN_INCIDENTS, -1)
        detail = {"device": incident.device.key, "verdict": verdict}
        ledger.record(actor=actor, action="incident.closed", thing=("incident", incident.public_id), detail=detail)
    return incident


def _extend(incident: Incident, severity: str, explanation: Explanation) -> Incident:
    order = ("low", "medium", "high")
    incident.last_seen_at = clock.now()
    worse = order.index(severity) > order.index(incident.severity)
    if worse:
        incident.severity = severity
        incident.explanation = explanation
        incident.score = float(explanation["score"])
        transaction.on_commit(lambda: _tell(incident, incident.domain.slug))
    incident.save(update_fields=["last_seen_at", "severity", "explanation", "score"])
    return incident


def _tell(incident: Incident, domain: str) -> None:
    incident_opened.send(sender=None, incident=incident, domain=domain)
