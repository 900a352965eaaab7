"""Show incidents: what changed, why the drift engine flagged it, and how the server responded."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.incident_documents import MetricEvidence
from devices.metric_units import amount_in_words
from devices.models import Incident
from devices.services import incidents
from fleet.console.lists import asked_filter, check_parameters
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page
from ota.selectors import rollouts
from pki.kernel.actor import Actor

#: who measured a metric
TRUST = {"observed": "measured by the gateway", "self-reported": "reported by the device"}
#: meaning of each verdict
VERDICTS = {
    "true": "The anomaly was real. The baseline never includes the data of this incident.",
    "benign": "The change was real but harmless or expected.",
    "false": "False alarm: nothing changed.",
    "healed": "The device was rolled back and behaves normally again.",
}
#: layer of an explanation -> the detection method that people read
DETECTIONS = {
    "numeric": "numeric drift",
    "novelty": "new destination",
    "corroborated": "numeric drift and new destination",
    "invariant": "broken invariant",
    "distrust": "report from the device",
}


@dataclass(frozen=True, slots=True)
class IncidentAction:
    """One response to an incident, or a decision that is still pending."""

    icon: str
    tone: str
    text: str
    href: str = ""


@require_GET
@page_view
def incident_list(request: HttpRequest) -> HttpResponse:
    """List incidents."""
    who = page_actor(request)
    wanted = asked_filter(request, selectors.IncidentFilter)
    page = cut_page(request, selectors.list_incidents(actor=who, wanted=wanted))
    return render(request, "console/incidents/list.html", {**page, "state": wanted.state})


@require_GET
@page_view
def incident_detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one incident with its explanation."""
    check_parameters(request)
    who = page_actor(request)
    incident = selectors.get_incident(actor=who, public_id=public_id)
    peers = incident.explanation.get("peers", [])
    known = selectors.device_public_ids(actor=who, names=[peer["device"] for peer in peers])
    context = {
        "incident": incident,
        "key": str(incident.public_id),
        "detection": DETECTIONS.get(incident.layer_now, incident.layer_now),
        "verdicts": [(value, label, VERDICTS[value]) for value, label in Incident.Verdict.choices],
        "metrics": [_shaped(metric) for metric in incident.explanation.get("metrics", [])],
        "peers": [{**peer, "key": known.get(peer["device"])} for peer in peers],
        "done": _done(who, incident),
    }
    return render(request, "console/incidents/detail.html", context)


@require_POST
@page_view
def incident_close(request: HttpRequest, public_id: str) -> HttpResponse:
    """Close an incident with a verdict."""
    who = page_actor(request)
    back = reverse("console:incident", args=[public_id])
    verdict = request.POST.get("verdict", "")
    done = "Incident closed."
    return run_form(request, done, back, lambda: incidents.close(actor=who, public_id=public_id, verdict=verdict))


def _shaped(metric: MetricEvidence) -> dict[str, object]:
    """Add both values with their unit, their ratio, and the lengths of the two bars in percent."""
    name = str(metric.get("name", ""))
    observed, expected = float(metric.get("observed", 0)), float(metric.get("expected", 0))
    most = max(abs(observed), abs(expected)) or 1.0
    return {
        **metric,
        "trust_words": TRUST.get(str(metric.get("trust", "")), ""),
        "observed_words": amount_in_words(name, observed, settings.FLEET_DRIFT_TICK_S),
        "expected_words": amount_in_words(name, expected, settings.FLEET_DRIFT_TICK_S),
        "times": f"{observed / expected:.3g}" if expected > 0 and observed >= 0 else "",
        "observed_width": f"{100 * abs(observed) / most:.1f}",
        "expected_width": f"{100 * abs(expected) / most:.1f}",
        "share_percent": round(100 * float(metric.get("share", 0))),
    }


def _done(who: Actor, incident: Incident) -> list[IncidentAction]:
    reaction, device = incident.reaction, reverse("console:device", args=[incident.device.public_id])
    held = rollouts.rollout_public_ids(actor=who, names=reaction.get("held", []))
    steps = []
    if reaction.get("quarantined"):
        steps.append(IncidentAction("shield-lock", "bad", "The device was quarantined.", device))
    for name in reaction.get("held", []):
        href = reverse("console:rollout", args=[held[name]]) if name in held else ""
        steps.append(IncidentAction("player-stop", "bad", f"The rollout {name} was held.", href))
    if number := reaction.get("repair"):
        text = f"The director scheduled a rollback to the previous version (action {number})."
        steps.append(IncidentAction("arrow-back-up", "info", text, device))
    if reaction.get("released"):
        text = "The device confirmed the rollback. It was released from quarantine and the rollout resumed."
        steps.append(IncidentAction("circle-check", "good", text, device))
    if proposed := reaction.get("proposed"):
        text = f"Proposed, pending decision: {proposed}. Decide on the device page."
        steps.append(IncidentAction("alert-circle", "warn", text, device))
    if stopped := reaction.get("stopped"):
        steps.append(IncidentAction("player-pause", "warn", f"No automatic response: {stopped}.", device))
    if trouble := reaction.get("no_repair"):
        steps.append(IncidentAction("circle-x", "warn", trouble, device))
    return steps
