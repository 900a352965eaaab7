"""The first page: counts that are links, what runs, what is wrong, what happened last."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from devices.models import Incident
from fleet.console.door import actor, page
from ota.models import Rollout
from ota.selectors import rollouts
from pki import selectors as ground
from pki.kernel.actor import Role


@require_GET
@page
def overview(request: HttpRequest) -> HttpResponse:
    """Show how the fleet is."""
    who = actor(request)
    who.require(Role.VIEWER)
    live = [Rollout.State.RUNNING, Rollout.State.HELD, Rollout.State.PAUSED]
    running = list(rollouts.rollouts(who.domain).filter(state__in=live)[:5])
    context = {
        "counts": devices.counts(who.domain),
        "rollouts": [(one, rollouts.progress(one)) for one in running],
        "recent": list(rollouts.rollouts(who.domain)[:5]),
        "incidents": list(devices.incidents(who.domain).filter(state=Incident.State.OPEN)[:5]),
        "entries": list(ground.ledger_entries(who.domain)[:8]),
    }
    return render(request, "console/overview/page.html", context)
