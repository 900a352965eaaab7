"""Show pending enrolment requests with their proofs, and approve or deny them."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.models import EnrolmentRequest
from devices.services import approvals
from fleet.console.lists import asked_filter
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page


@require_GET
@page_view
def approval_list(request: HttpRequest) -> HttpResponse:
    """List enrolment requests; by default those that are waiting."""
    who = page_actor(request)
    wanted = asked_filter(request, selectors.EnrolmentRequestFilter, state=EnrolmentRequest.State.WAITING)
    page = cut_page(request, selectors.enrolment_requests(actor=who, wanted=wanted))
    context = {**page, "state": wanted.state, "states": ["", *EnrolmentRequest.State.values]}
    return render(request, "console/approvals/list.html", context)


@require_POST
@page_view
def approval_decide(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Approve or deny a request; the device receives the result when it repeats its request."""
    who = page_actor(request)
    approved = verb == "approve"
    done = "Request denied."
    if approved:
        done = "Request approved. The device receives its certificate when it repeats its request."
    reason = request.POST.get("reason", "")[:300]
    return run_form(
        request,
        done,
        reverse("console:approvals"),
        lambda: approvals.decide(actor=who, public_id=public_id, approved=approved, reason=reason),
    )
