"""What is below ``/api`` and no resource: a problem document, as every other refusal of the API."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from fleet.refusals import PROBLEM_TYPE, STATUS, problem_document
from pki.kernel.errors import Kind


@csrf_exempt  # it changes nothing, and a refusal of the token would hide that there is nothing to change
def missing_resource(_request: HttpRequest, **_parts: str) -> JsonResponse:
    """Say that there is no such resource, by any method."""
    status, detail = STATUS[Kind.NOT_FOUND], "There is no such resource. /api/v1/openapi.json lists all of them."
    problem = problem_document(status, Kind.NOT_FOUND, detail)
    return JsonResponse(problem, status=status, content_type=PROBLEM_TYPE)
