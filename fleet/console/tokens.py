"""Enrolment tokens: list them, make one and show it this once, withdraw it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.services import tokens
from fleet.console.door import act, actor, page
from fleet.console.paging import cut
from pki.kernel.actor import Role
from pki.kernel.errors import InvalidError


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List enrolment tokens and offer to make some."""
    who = actor(request)
    who.require(Role.VIEWER)
    context = {
        **cut(request, selectors.tokens(who.domain)),
        "hardware": list(selectors.hardware_models(who.domain)),
    }
    return render(request, "console/tokens/list.html", context)


@require_POST
@page
def make(request: HttpRequest) -> HttpResponse:
    """Make one token and show its secret, this once."""
    who = actor(request)
    model = selectors.hardware_model(who.domain, request.POST.get("hardware", ""))
    days = request.POST.get("days", "7")
    if not days.isascii() or not days.isdigit() or len(days) > 3:  # noqa: PLR2004  because a year is the most
        msg = "Days is a whole number."
        raise InvalidError(msg)
    name = request.POST.get("device", "").strip()
    token, secret = tokens.create(actor=who, hardware_model=model, device_name=name, days=int(days))
    return render(request, "console/tokens/made.html", {"token": token, "secret": secret})


@require_POST
@page
def withdraw(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make an unused token worthless."""
    who = actor(request)
    done = "The token is withdrawn."
    return act(request, done, reverse("console:tokens"), lambda: tokens.withdraw(actor=who, public_id=public_id))
