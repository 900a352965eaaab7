"""Show the overview page: device counts, rollouts, open incidents and recent activity."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from fleet.console.ledger import object_names
from fleet.console.lists import check_parameters
from fleet.console.pages import page_actor, page_view
from ota.selectors import rollouts
from ota.selectors.device_list import count_updates
from ota.selectors.roles import role_alarms
from pki import selectors as ground

SHOWN = 5


@require_GET
@page_view
def fleet_overview(request: HttpRequest) -> HttpResponse:
    """Show the state of the fleet."""
    check_parameters(request)
    who = page_actor(request)
    live = rollouts.brief_rollouts(actor=who, wanted=rollouts.RolloutFilter(state="live"))
    under_way = list(live[:SHOWN])
    shown = under_way or list(rollouts.brief_rollouts(actor=who)[:SHOWN])
    tallies = rollouts.rollout_tallies(shown)
    entries = list(ground.ledger_entries(actor=who)[:8])
    counts = devices.device_counts(actor=who)
    context = {
        "counts": counts,
        "presence": {"finished": counts.online, "canceling": counts.late, "failed": counts.overdue},
        "updating": count_updates(actor=who),
        "live": live.count(),
        "under_way": bool(under_way),
        "rollouts": [(rollout, tallies[rollout.pk], sum(tallies[rollout.pk].values())) for rollout in shown],
        "incidents": list(devices.list_incidents(actor=who, wanted=devices.IncidentFilter(state="open"))[:SHOWN]),
        "entries": entries,
        "names": object_names(who, entries),
        "alarms": role_alarms(actor=who),
    }
    return render(request, "console/overview/page.html", context)
