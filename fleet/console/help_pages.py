"""Help pages, with the reference of the REST API."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from fleet.console.lists import asked_filter
from fleet.console.pages import page_actor, page_view
from pki.kernel.filters import NoFilter


@require_GET
@page_view
def help_index(request: HttpRequest) -> HttpResponse:
    """Show the index of the help pages."""
    page_actor(request)
    asked_filter(request, NoFilter)
    return render(request, "console/help/index.html")


@require_GET
@page_view
def api_reference(request: HttpRequest) -> HttpResponse:
    """Show every operation of the REST API, generated from the OpenAPI document."""
    page_actor(request)
    asked_filter(request, NoFilter)
    return render(request, "console/help/api.html")
