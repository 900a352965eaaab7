"""List, plan, watch, start, pause, resume and abort rollouts."""

from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.console.lists import asked_filter, check_parameters
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page
from ota.models import Release, Rollout, Wave
from ota.planning import Thresholds, WavePlan
from ota.selectors import bundles as bundle_rows
from ota.selectors import patches
from ota.selectors import rollouts as rows
from ota.services import rollouts
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError

State = Rollout.State
MOST_RELEASES = 200
#: groups of devices in the order of their progress
ORDER = ("waiting", "offered", "installing", "finished", "canceling", "canceled", "failed")


@require_GET
@page_view
def rollout_list(request: HttpRequest) -> HttpResponse:
    """List rollouts; ``state=live`` selects all rollouts in progress."""
    who = page_actor(request)
    wanted = asked_filter(request, rows.RolloutFilter)
    cuts = cut_page(request, rows.brief_rollouts(actor=who, wanted=wanted))
    tallies = rows.rollout_tallies(cuts["rows"])
    context = {
        **cuts,
        "rows": [(row, tallies[row.pk], sum(tallies[row.pk].values())) for row in cuts["rows"]],
        "state": wanted.state,
        "states": ["live", *Rollout.State.values],
    }
    return render(request, "console/rollouts/list.html", context)


@require_GET
@page_view
def rollout_detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one rollout; the event stream refreshes the body of the page."""
    check_parameters(request)
    who = page_actor(request)
    return render(request, "console/rollouts/detail.html", rollout_body(who, public_id))


def rollout_body(asker: Actor, public_id: str) -> dict[str, object]:
    """Return the template context for the live part of a rollout page."""
    rollout = rows.get_rollout(actor=asker, public_id=public_id)
    progress = rows.rollout_progress(rollout)
    opened = [wave.wave.index + 1 for wave in progress.waves if wave.wave.state != Wave.State.WAITING]
    said = f"The rollout is {progress.step.text if progress.step else rollout.state}"
    return {
        "rollout": rollout,
        "key": str(rollout.public_id),
        "progress": progress,
        "groups": [(name, progress.groups.get(name, 0)) for name in ORDER],
        "verb": {"draft": "start", "running": "pause", "held": "resume", "paused": "resume"}.get(rollout.state, ""),
        "failed": progress.groups.get("failed", 0),
        "patches": patches.in_rollout(rollout.pk),
        "said": f"{said}, wave {opened[-1]} of {len(progress.waves)} is open." if opened else f"{said}.",
    }


@require_GET
@page_view
def rollout_members(request: HttpRequest, public_id: str) -> HttpResponse:
    """List the devices of a rollout, optionally of one group."""
    who = page_actor(request)
    rollout = rows.get_rollout(actor=who, public_id=public_id)
    wanted = asked_filter(request, rows.AssignmentFilter)
    if wanted.rollout:
        msg = "The address of this page names the rollout. Remove the parameter `rollout`."
        raise InvalidError(msg)
    assignments = rows.list_assignments(actor=who, wanted=replace(wanted, rollout=str(rollout.public_id)))
    context = {**cut_page(request, assignments), "rollout": rollout, "group": wanted.group, "groups": ["", *ORDER]}
    return render(request, "console/rollouts/members.html", context)


@require_http_methods(["GET", "POST"])
@page_view
def rollout_abort(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show the effect of an abort on GET; abort the rollout on POST."""
    check_parameters(request)
    who = page_actor(request)
    rollout = rows.get_rollout(actor=who, public_id=public_id)
    back = reverse("console:rollout", args=[rollout.public_id])
    if request.method == "GET":
        groups, key = rows.rollout_tallies([rollout])[rollout.pk], str(rollout.public_id)
        done = groups.get("finished", 0)
        left = sum(groups.values()) - done - groups.get("failed", 0) - groups.get("canceled", 0)
        context = {"rollout": rollout, "key": key, "open": left, "done": done, "back": back}
        return render(request, "console/rollouts/abort.html", context)
    said = "Abort started. The rollout offers no new updates."
    return run_form(request, said, back, lambda: rollouts.abort(actor=who, rollout=rollout))


@require_POST
@page_view
def rollout_step(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Start, pause or resume a rollout."""
    who = page_actor(request)
    rollout = rows.get_rollout(actor=who, public_id=public_id)
    services = {"start": rollouts.start, "pause": rollouts.pause, "resume": rollouts.resume}
    done = {
        "start": "Rollout started. The first wave starts within seconds.",
        "pause": "Rollout paused. Updates in progress continue.",
        "resume": "Rollout resumed.",
    }
    back = reverse("console:rollout", args=[rollout.public_id])
    return run_form(request, done[verb], back, lambda: services[verb](actor=who, rollout=rollout))


@require_http_methods(["GET", "POST"])
@page_view
def rollout_plan(request: HttpRequest) -> HttpResponse:
    """Plan a rollout in three waves: a number of devices, a percentage, and all remaining devices."""
    check_parameters(request, "release")
    who = page_actor(request)
    if request.method == "GET":
        published = bundle_rows.list_releases(actor=who, wanted=bundle_rows.ReleaseFilter(Release.State.PUBLISHED))
        context = {
            "releases": list(published[:MOST_RELEASES]),
            "wanted": request.GET.get("release", ""),
            "example": [{"count": 1, "soak_s": 3600}, {"share": 250, "soak_s": 3600}, {"share": 1000}],
        }
        return render(request, "console/rollouts/plan.html", context)
    soak = _number(request, "soak_s")
    waves = [
        WavePlan(count=_number(request, "first"), soak_s=soak),
        WavePlan(share=_number(request, "second") * 10, soak_s=soak),
        WavePlan(share=1000, soak_s=soak),
    ]
    rollout = rollouts.create(
        actor=who,
        name=request.POST.get("name", "").strip(),
        release=bundle_rows.get_release(actor=who, public_id=request.POST.get("release", "")),
        waves=waves,
        thresholds=Thresholds(_number(request, "success") * 10, _number(request, "errors") * 10),
    )
    back = reverse("console:rollout", args=[rollout.public_id])
    said = "Rollout planned. Start it when you are ready."
    if rollout.state == State.PREPARING:
        said = "Rollout planned. You can start it when device selection is complete."
    return run_form(request, said, back, lambda: None)


def _number(request: HttpRequest, name: str) -> int:
    text = request.POST.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 7:  # noqa: PLR2004  because no field of the form needs more digits
        msg = f"`{name}` must be a whole number of at most 7 digits."
        raise InvalidError(msg)
    return int(text)
