"""Sign in by a one-time link or by password and code; set both up; sign out."""

import segno
from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from fleet.console.door import page
from fleet.operators import totp
from fleet.operators.models import Operator
from fleet.operators.services import people
from pki.kernel.errors import DomainError

BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_http_methods(["GET", "POST"])
@page
def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask for name, password and code."""
    if request.method == "POST":
        try:
            operator = people.sign_in(
                username=request.POST.get("username", "")[:60],
                password=request.POST.get("password", "")[:1000],
                code=request.POST.get("code", "")[:10],
                address=str(request.META.get("REMOTE_ADDR", "")),
            )
        except DomainError as error:
            messages.error(request, error.detail)
            return render(request, "console/people/sign_in.html", status=401)
        login(request, operator, BACKEND)
        return HttpResponseRedirect(_next(request))
    return render(request, "console/people/sign_in.html")


@require_http_methods(["GET", "POST"])
@page
def follow_link(request: HttpRequest, word: str) -> HttpResponse:
    """Show a button, so that a mail scanner's GET does not use the link up; then sign in."""
    if request.method == "GET":
        return render(request, "console/people/link.html")
    operator = people.follow_link(word=word, address=str(request.META.get("REMOTE_ADDR", "")))
    login(request, operator, BACKEND)
    return HttpResponseRedirect(reverse("console:overview"))


@require_http_methods(["GET", "POST"])
@page
def set_up_password(request: HttpRequest) -> HttpResponse:
    """Ask for a first password."""
    operator = _operator(request)
    if operator is None or operator.has_usable_password():
        return HttpResponseRedirect(reverse("console:overview"))
    if request.method == "POST":
        try:
            people.set_password(operator=operator, password=request.POST.get("password", "")[:1000])
        except DomainError as error:
            messages.error(request, error.detail)
        else:
            login(request, operator, BACKEND)
            return HttpResponseRedirect(reverse("console:set-up-totp"))
    return render(request, "console/people/password.html")


@require_http_methods(["GET", "POST"])
@page
def set_up_totp(request: HttpRequest) -> HttpResponse:
    """Show the second factor's QR code and ask for a first code."""
    operator = _operator(request)
    if operator is None or operator.totp_confirmed_at:
        return HttpResponseRedirect(reverse("console:overview"))
    if request.method == "POST":
        try:
            people.confirm_totp(operator=operator, code=request.POST.get("code", "")[:10])
        except DomainError as error:
            messages.error(request, error.detail)
        else:
            return HttpResponseRedirect(reverse("console:overview"))
    secret = people.begin_totp(operator=operator)
    picture = segno.make(totp.address(secret, operator.username)).svg_data_uri(scale=5, border=2, light="#fff")
    return render(request, "console/people/totp.html", {"picture": picture, "secret": secret})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return HttpResponseRedirect(reverse("console:sign-in"))


def _operator(request: HttpRequest) -> Operator | None:
    return request.user if isinstance(request.user, Operator) else None


def _next(request: HttpRequest) -> str:
    wanted = request.GET.get("next", "")
    allowed = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=True)
    return wanted if allowed else reverse("console:overview")
