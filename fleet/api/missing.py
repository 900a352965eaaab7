"""Problem documents for requests below ``/api`` that never reach a view."""

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from fleet.refusals import PROBLEM_TYPE, STATUS, problem_document
from pki.kernel.errors import ErrorKind


@csrf_exempt  # it changes nothing, and a CSRF error would hide the 404
def missing_resource(_request: HttpRequest, **_parts: str) -> JsonResponse:
    """Answer 404 for any method."""
    return _problem(
        STATUS[ErrorKind.NOT_FOUND], ErrorKind.NOT_FOUND, "No such resource. See /api/v1/openapi.json for all paths."
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that was rejected before any view: with a problem document below ``/api``, else with a page."""
    if not request.path_info.startswith("/api/"):
        return defaults.bad_request(request, exception)
    host = "The host name in the Host header is not allowed. Add it to FLEET_HOST_NAMES."
    detail = host if isinstance(exception, DisallowedHost) else "The request cannot be read."
    return _problem(400, ErrorKind.INVALID, detail)


def _problem(status: int, kind: ErrorKind, detail: str) -> JsonResponse:
    return JsonResponse(problem_document(status, kind, detail), status=status, content_type=PROBLEM_TYPE)
