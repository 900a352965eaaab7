"""Help pages, with the reference of the REST API."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from fleet.console.lists import asked_filter
from fleet.console.pages import actor, page
from pki.kernel.filters import NoFilter


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """Show the index of the help pages."""
    actor(request)
    asked_filter(request, NoFilter)
    return render(request, "console/help/index.html")


@require_GET
@page
def api_reference(request: HttpRequest) -> HttpResponse:
    """Show every operation of the REST API, generated from the OpenAPI document."""
    actor(request)
    asked_filter(request, NoFilter)
    return render(request, "console/help/api.html")
