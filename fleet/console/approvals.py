"""First enrolments that wait for a person: who asks, how it proved itself, approve or deny."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.models import EnrolmentRequest
from devices.services import approvals
from fleet.console.door import act, actor, page
from fleet.console.lists import asked_filter
from fleet.console.paging import cut


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List requests; those that wait first of all."""
    who = actor(request)
    wanted = asked_filter(request, selectors.EnrolmentRequestFilter, state=EnrolmentRequest.State.WAITING)
    found = cut(request, selectors.enrolment_requests(actor=who, wanted=wanted))
    context = {**found, "state": wanted.state, "states": ["", *EnrolmentRequest.State.values]}
    return render(request, "console/approvals/list.html", context)


@require_POST
@page
def decide(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Approve or deny; the device learns it when it asks again."""
    who = actor(request)
    approved = verb == "approve"
    done = "Approved; the device gets its certificate when it asks again." if approved else "Denied."
    reason = request.POST.get("reason", "")[:300]
    return act(
        request,
        done,
        reverse("console:approvals"),
        lambda: approvals.decide(actor=who, public_id=public_id, approved=approved, reason=reason),
    )
