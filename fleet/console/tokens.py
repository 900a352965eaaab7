"""List, create and withdraw enrolment tokens."""

import csv
from dataclasses import dataclass

import segno
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from devices import selectors
from devices.models import EnrolmentToken, HardwareModel
from devices.names import check_name
from devices.services import tokens
from fleet.console.lists import PAGE, check_parameters
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page
from pki import selectors as ground
from pki.kernel.errors import InvalidError

MOST = 200


@require_GET
@page_view
def token_list(request: HttpRequest) -> HttpResponse:
    """List enrolment tokens, with a form that creates new ones."""
    check_parameters(request, *PAGE)
    who = page_actor(request)
    context = {
        **cut_page(request, selectors.list_tokens(actor=who)),
        "hardware": list(selectors.hardware_models(actor=who)),
        "profiles": list(ground.list_profiles(actor=who)),
    }
    return render(request, "console/tokens/list.html", context)


@require_POST
@page_view
def make_token(request: HttpRequest) -> HttpResponse:
    """Create a token and show its secret once, also as a QR code; for several names, return a CSV file."""
    wanted = _wanted(request)
    if len(wanted.names) > 1:
        return _csv(request, wanted)
    [(token, secret)] = _make(request, wanted)
    picture = segno.make(secret).svg_data_uri(scale=5, border=2, light="#fff")
    return render(request, "console/tokens/made.html", {"token": token, "secret": secret, "picture": picture})


@require_POST
@page_view
def as_csv(request: HttpRequest) -> HttpResponse:
    """Create tokens and return them once as a CSV file."""
    return _csv(request, _wanted(request))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Validated fields of the form."""

    hardware: HardwareModel
    names: list[str]
    days: int
    profile: str


def _wanted(request: HttpRequest) -> Wanted:
    who, form = page_actor(request), request.POST
    days = form.get("days", "7")
    if not days.isascii() or not days.isdigit() or len(days) > 3:  # noqa: PLR2004  because the maximum is one year
        msg = "`days` must be a whole number of at most 3 digits."
        raise InvalidError(msg)
    names = [line.strip() for line in form.get("names", "").splitlines() if line.strip()]
    if len(names) > MOST:
        msg = f"The form creates at most {MOST} tokens at once (got {len(names)}). Use the REST API for more."
        raise InvalidError(msg)
    for name in names:
        check_name(name)
    model = selectors.hardware_model(actor=who, name=form.get("hardware", ""))
    return Wanted(model, names or [form.get("device", "").strip()], int(days), form.get("profile", "device")[:40])


def _make(request: HttpRequest, wanted: Wanted) -> list[tuple[EnrolmentToken, str]]:
    return tokens.create_tokens(
        actor=page_actor(request),
        hardware_model=wanted.hardware,
        device_names=wanted.names,
        days=wanted.days,
        profile=wanted.profile,
    )


def _csv(request: HttpRequest, wanted: Wanted) -> HttpResponse:
    rows = [(token.device_name, secret) for token, secret in _make(request, wanted)]
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="enrolment-tokens.csv"'
    response["Cache-Control"] = "no-store"
    writer = csv.writer(response)
    writer.writerow(["device", "token"])
    writer.writerows(rows)
    return response


@require_POST
@page_view
def token_withdraw(request: HttpRequest, public_id: str) -> HttpResponse:
    """Withdraw an unused token."""
    who = page_actor(request)
    done = "Token withdrawn."
    return run_form(request, done, reverse("console:tokens"), lambda: tokens.withdraw(actor=who, public_id=public_id))
