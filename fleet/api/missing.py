"""What is below ``/api`` and never reaches a view: a problem document, as every other refusal of the API."""

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from fleet.refusals import PROBLEM_TYPE, STATUS, problem_document
from pki.kernel.errors import Kind


@csrf_exempt  # it changes nothing, and a refusal of the token would hide that there is nothing to change
def missing_resource(_request: HttpRequest, **_parts: str) -> JsonResponse:
    """Say that there is no such resource, by any method."""
    return _problem(STATUS[Kind.NOT_FOUND], Kind.NOT_FOUND, "There is no such resource. Read /api/v1/openapi.json.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that was refused before any view: by a problem below ``/api``, else by a page."""
    if not request.path_info.startswith("/api/"):
        return defaults.bad_request(request, exception)
    host = "The server does not answer to the name in the field Host. Add it to FLEET_HOST_NAMES."
    detail = host if isinstance(exception, DisallowedHost) else "The request cannot be read."
    return _problem(400, Kind.INVALID, detail)


def _problem(status: int, kind: Kind, detail: str) -> JsonResponse:
    return JsonResponse(problem_document(status, kind, detail), status=status, content_type=PROBLEM_TYPE)
