"""Sign in with password and code, set up or replace both with a one-time link, and sign out."""

import segno
from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from fleet.console.pages import page_view
from fleet.operators import totp
from fleet.operators.services import links, people
from pki.kernel.errors import DomainError, InvalidError

#: session key of the opened link
LINK = "opened-link"
BACKEND = "django.contrib.auth.backends.ModelBackend"


@require_http_methods(["GET", "POST"])
@page_view
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Show the sign-in form on GET; sign in with username, password and code on POST."""
    if request.method == "POST":
        try:
            operator = people.sign_in(
                username=request.POST.get("username", "")[:60],
                password=request.POST.get("password", "")[:1000],
                code=request.POST.get("code", "")[:10],
                address=_address(request),
            )
        except DomainError as error:
            messages.error(request, error.detail)
            return render(request, "console/people/sign_in.html", status=401)
        login(request, operator, BACKEND)
        return HttpResponseRedirect(_next(request))
    return render(request, "console/people/sign_in.html")


@require_http_methods(["GET", "POST"])
@page_view
def link_follow(request: HttpRequest, word: str) -> HttpResponse:
    """Show a button on GET, so that mail scanners do not consume the link; begin the set-up on POST."""
    if request.method == "GET":
        return render(request, "console/people/link.html")
    link = links.open_link(word=word, address=_address(request))
    request.session.flush()  # signs out the current user and gives the session a new key
    request.session[LINK] = link.pk
    return HttpResponseRedirect(reverse("console:set-up-password"))


@require_http_methods(["GET", "POST"])
@page_view
def set_up_password(request: HttpRequest) -> HttpResponse:
    """Ask for a new password (step 1 of 2)."""
    link = links.opened_link(request.session.get(LINK))
    if request.method == "POST":
        try:
            links.choose_password(link=link, password=request.POST.get("password", "")[:1000])
        except DomainError as error:
            messages.error(request, error.detail)
        else:
            return HttpResponseRedirect(reverse("console:set-up-totp"))
    return render(request, "console/people/password.html", {"link": link})


@require_http_methods(["GET", "POST"])
@page_view
def set_up_totp(request: HttpRequest) -> HttpResponse:
    """Show the QR code of the second factor, verify a first code (step 2 of 2), and sign the person in."""
    link = links.opened_link(request.session.get(LINK))
    if not link.new_password:
        return HttpResponseRedirect(reverse("console:set-up-password"))
    if request.method == "POST":
        try:
            operator = links.finish_set_up(link=link, code=request.POST.get("code", "")[:10], address=_address(request))
        except InvalidError as error:
            messages.error(request, error.detail)
        else:
            request.session.flush()
            login(request, operator, BACKEND)
            return HttpResponseRedirect(reverse("console:overview"))
    secret = links.begin_second_factor(link=link)
    picture = segno.make(totp.otpauth_uri(secret, link.operator.username)).svg_data_uri(scale=5, border=2, light="#fff")
    return render(request, "console/people/totp.html", {"picture": picture, "secret": secret, "link": link})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return HttpResponseRedirect(reverse("console:sign-in"))


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _next(request: HttpRequest) -> str:
    address = request.GET.get("next", "")
    allowed = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=True)
    return address if allowed else reverse("console:overview")
