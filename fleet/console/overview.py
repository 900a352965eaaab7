"""The first page: counts that are links, what runs, what is wrong, what happened last."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from devices.models import Incident
from fleet.console.door import actor, page
from fleet.console.ledger import names
from fleet.console.rollouts import LIVE
from ota.selectors import rollouts
from ota.selectors.roles import alarms
from pki import selectors as ground
from pki.kernel.actor import Role

SHOWN = 5


@require_GET
@page
def overview(request: HttpRequest) -> HttpResponse:
    """Show how the fleet is."""
    who = actor(request)
    who.require(Role.VIEWER)
    known = rollouts.rollouts(who.domain)
    live = known.filter(state__in=LIVE)
    under_way = list(live[:SHOWN])
    shown = under_way or list(known[:SHOWN])
    tallies = rollouts.tallies(shown)
    entries = list(ground.ledger_entries(who.domain)[:8])
    counts = devices.counts(who.domain)
    context = {
        "counts": counts,
        "presence": {"finished": counts.online, "canceling": counts.late, "failed": counts.overdue},
        "updating": rollouts.updating(who.domain).count(),
        "live": live.count(),
        "under_way": bool(under_way),
        "rollouts": [(one, tallies[one.pk], sum(tallies[one.pk].values())) for one in shown],
        "incidents": list(devices.incidents(who.domain).filter(state=Incident.State.OPEN)[:SHOWN]),
        "entries": entries,
        "names": names(who.domain, entries),
        "alarms": alarms(who.domain),
    }
    return render(request, "console/overview/page.html", context)
