"""Shared parts of all pages: the actor of a request, error pages, and the result of form actions."""

from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render

from fleet.observe import request_id
from fleet.operators.identity import actor_for
from fleet.operators.models import Operator
from fleet.plain_text import check_form
from fleet.refusals import STATUS
from pki.kernel.actor import Actor
from pki.kernel.errors import DomainError, UnauthenticatedError

View = Callable[..., HttpResponse]


def page_actor(request: HttpRequest) -> Actor:
    """Return the actor of a page request.

    Raises:
        UnauthenticatedError: nobody is signed in.
    """
    if not isinstance(request.user, Operator):
        msg = "Sign in first."
        raise UnauthenticatedError(msg)
    return actor_for(request.user, "console", request_id.get())


def page_view(view: View) -> View:
    """Render domain errors of a view as an error page, or as JSON for our scripts."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        try:
            check_form(request)
            return view(request, *args, **kwargs)
        except DomainError as error:
            status = STATUS[error.kind]
            if wants_json(request):
                said = {"detail": error.detail, "error": error.kind, "request_id": request_id.get()}
                return JsonResponse(said, status=status)
            context = {"error": error, "status": status, "request_id": request_id.get()}
            return render(request, "console/error.html", context, status=status)

    return wrapped


def wants_json(request: HttpRequest) -> bool:
    """Return whether one of our scripts sent the request and shows the response inside the page."""
    return request.headers.get("accept") == "application/json"


def run_form(request: HttpRequest, done: str, back: str, service: Callable[[], object]) -> HttpResponse:
    """Call a service for a form, show its result as a message, and redirect to a page.

    Args:
        request: the form submission.
        done: message after success.
        back: path of the page to redirect to.
        service: what to call.
    """
    try:
        service()
    except DomainError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, done)
    return HttpResponseRedirect(back)
