"""Manage people and their API tokens: one-time links for set-up and recovery, and token revocation."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from fleet.console.lists import PAGE, check_parameters
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page
from fleet.operators import selectors
from fleet.operators.services import links, tokens
from pki.kernel.permissions import Action, may_do


@require_GET
@page_view
def operator_list(request: HttpRequest) -> HttpResponse:
    """List the operators of the trust domain."""
    check_parameters(request)
    return render(request, "console/people/list.html", {"people": selectors.people_of(actor=page_actor(request))})


@require_POST
@page_view
def make_link(request: HttpRequest, username: str) -> HttpResponse:
    """Create a link for set-up or recovery and show it once."""
    who = page_actor(request)
    operator = selectors.person_named(actor=who, username=username)
    link, path = links.create_link(actor=who, operator=operator)
    return render(request, "console/people/made.html", {"link": link, "url": request.build_absolute_uri(path)})


@require_POST
@page_view
def link_approve(request: HttpRequest, username: str) -> HttpResponse:
    """Approve a recovery as the second admin."""
    who = page_actor(request)
    operator = selectors.person_named(actor=who, username=username)
    done = f"Recovery link of {username} approved. The link now works."
    return run_form(request, done, reverse("console:people"), lambda: links.approve_link(actor=who, operator=operator))


@require_GET
@page_view
def api_tokens(request: HttpRequest) -> HttpResponse:
    """List the API tokens that the signed-in person can revoke."""
    check_parameters(request, *PAGE)
    who = page_actor(request)
    context = {**cut_page(request, selectors.tokens_of(actor=who)), "reads_people": may_do(who, Action.READ_PEOPLE)}
    return render(request, "console/people/tokens.html", context)


@require_POST
@page_view
def revoke_token(request: HttpRequest, public_id: str) -> HttpResponse:
    """Revoke a token and the tokens that were created with it."""
    who = page_actor(request)
    done = "Token revoked, with all tokens that were created with it."
    return run_form(
        request, done, reverse("console:api-tokens"), lambda: tokens.revoke_api_token(actor=who, public_id=public_id)
    )
