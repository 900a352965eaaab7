"""Rollouts: list, plan, watch live, pause, resume, abort."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.console.door import act, actor, cut, page
from ota.models import Assignment, Release, Rollout
from ota.planning import WavePlan
from ota.selectors import bundles as bundle_rows
from ota.selectors import rollouts as rows
from ota.services import rollouts
from pki.kernel.actor import Role
from pki.kernel.errors import InvalidError


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List rollouts."""
    who = actor(request)
    who.require(Role.VIEWER)
    found = rows.rollouts(who.domain)
    state = request.GET.get("state", "")
    if state in Rollout.State.values:
        found = found.filter(state=state)
    cuts = cut(request, found)
    context = {**cuts, "rows": [(one, rows.progress(one)) for one in cuts["rows"]], "state": state}
    return render(request, "console/rollouts/list.html", context)


@require_GET
@page
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one rollout; its body comes anew over the event stream."""
    who = actor(request)
    who.require(Role.VIEWER)
    rollout = rows.rollout(who.domain, public_id)
    context = {"rollout": rollout, "progress": rows.progress(rollout)}
    return render(request, "console/rollouts/detail.html", context)


@require_GET
@page
def members(request: HttpRequest, public_id: str) -> HttpResponse:
    """List the devices of a rollout, by group or all."""
    who = actor(request)
    who.require(Role.VIEWER)
    rollout = rows.rollout(who.domain, public_id)
    group = request.GET.get("group", "")
    found = Assignment.objects.filter(rollout=rollout).select_related("device", "wave").order_by("device__name")
    if group:
        found = found.filter(status__in=[status for status, name in rows.GROUPS.items() if name == group])
    context = {**cut(request, found), "rollout": rollout, "group": group}
    return render(request, "console/rollouts/members.html", context)


@require_POST
@page
def step(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Start, pause, resume or abort."""
    who = actor(request)
    rollout = rows.rollout(who.domain, public_id)
    services = {
        "start": rollouts.start,
        "pause": rollouts.pause,
        "resume": rollouts.resume,
        "abort": rollouts.abort,
    }
    back = reverse("console:rollout", args=[rollout.public_id])
    return act(request, f"{verb}: done.", back, lambda: services[verb](actor=who, rollout=rollout))


@require_http_methods(["GET", "POST"])
@page
def plan(request: HttpRequest) -> HttpResponse:
    """Plan a rollout: name, release, waves of one device, a share, all."""
    who = actor(request)
    who.require(Role.VIEWER)
    if request.method == "GET":
        published = bundle_rows.releases(who.domain).filter(state=Release.State.PUBLISHED)
        return render(request, "console/rollouts/plan.html", {"releases": list(published[:200])})
    soak = _number(request, "soak_s")
    waves = [
        WavePlan(count=_number(request, "first"), soak_s=soak),
        WavePlan(share=_number(request, "second") * 10, soak_s=soak),
        WavePlan(share=1000, soak_s=soak),
    ]
    made = rollouts.create(
        actor=who,
        name=request.POST.get("name", "").strip(),
        release=bundle_rows.release(who.domain, request.POST.get("release", "")),
        waves=waves,
        success_permille=_number(request, "success") * 10,
        error_permille=_number(request, "errors") * 10,
    )
    back = reverse("console:rollout", args=[made.public_id])
    return act(request, "The rollout is planned; start it when you are ready.", back, lambda: None)


def _number(request: HttpRequest, name: str) -> int:
    text = request.POST.get(name, "")
    if not text.isdigit() or len(text) > 7:  # noqa: PLR2004  because no field of the form needs more digits
        msg = f"`{name}` is a whole number."
        raise InvalidError(msg)
    return int(text)
