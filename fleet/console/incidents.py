"""Incidents: what changed, why it was flagged, what was done."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.models import Incident
from devices.services import incidents
from fleet.console.door import act, actor, cut, page
from pki.kernel.actor import Role


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List incidents."""
    who = actor(request)
    who.require(Role.VIEWER)
    rows = selectors.incidents(who.domain)
    state = request.GET.get("state", "")
    if state in Incident.State.values:
        rows = rows.filter(state=state)
    return render(request, "console/incidents/list.html", {**cut(request, rows), "state": state})


@require_GET
@page
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one incident with its explanation."""
    who = actor(request)
    who.require(Role.VIEWER)
    incident = selectors.incident(who.domain, public_id)
    context = {"incident": incident, "verdicts": Incident.Verdict.choices}
    return render(request, "console/incidents/detail.html", context)


@require_POST
@page
def close(request: HttpRequest, public_id: str) -> HttpResponse:
    """Close an incident with its verdict."""
    who = actor(request)
    back = reverse("console:incident", args=[public_id])
    verdict = request.POST.get("verdict", "")
    done = "The incident is closed."
    return act(request, done, back, lambda: incidents.close(actor=who, public_id=public_id, verdict=verdict))
