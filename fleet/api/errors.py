"""Turn every error of the REST API into a problem document (RFC 9457)."""

import logging
from collections.abc import Iterator

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from fleet.observe import request_id
from fleet.refusals import KINDS, PROBLEM_TYPE, STATUS, problem_document
from pki.kernel.errors import DomainError, ErrorKind
from pki.models.documents import UNSTORABLE

_logger = logging.getLogger(__name__)


def handle_error(error: Exception, context: dict[str, object]) -> Response:
    """Turn any error into a problem document."""
    set_rollback()
    if isinstance(error, DomainError):
        return _domain(error)
    if isinstance(error, SuspiciousOperation):  # Django's own limits: too many fields, or a form that is too large
        status = 413 if isinstance(error, RequestDataTooBig) else 400
        return problem_response(status, KINDS[status], str(error))
    if isinstance(error, UNSTORABLE):
        _logger.warning("a value passed all checks but cannot be stored", exc_info=error)
        return problem_response(
            400, ErrorKind.INVALID, "A value in the request cannot be stored: it is out of range, or not valid text."
        )
    known = exception_handler(error, context)
    if known is None:
        _logger.error("a request failed", exc_info=error)
        detail = f"Internal server error. The server log has the details under the request id {request_id.get()}."
        return problem_response(500, ErrorKind.INTERNAL, detail)
    if isinstance(error, exceptions.ValidationError):
        return problem_response(
            422,
            ErrorKind.INVALID,
            "Some fields are invalid. `errors` lists them.",
            errors=list(_pointers(error.detail)),
        )
    detail = str(known.data.get("detail", "")) if isinstance(known.data, dict) else str(known.data)
    answer = problem_response(known.status_code, KINDS.get(known.status_code, ErrorKind.INVALID), detail)
    for name in ("WWW-Authenticate", "Retry-After", "Allow"):
        if name in known.headers:
            answer[name] = known.headers[name]
    return answer


def problem_response(status: int, kind: ErrorKind, detail: str, **further: object) -> Response:
    """Return a response with a problem document."""
    return Response(problem_document(status, kind, detail, **further), status=status, content_type=PROBLEM_TYPE)


def _domain(error: DomainError) -> Response:
    answer = problem_response(STATUS[error.kind], error.kind, error.detail)
    if error.kind is ErrorKind.LIMITED:
        answer["Retry-After"] = str(int(float(str(error.context.get("retry_after", 5)))) + 1)
    return answer


def _pointers(detail: object, at: str = "") -> Iterator[dict[str, str]]:
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _pointers(inner, f"{at}/{name}")
    elif isinstance(detail, list) and any(isinstance(one, dict | list) for one in detail):
        for number, inner in enumerate(detail):
            yield from _pointers(inner, f"{at}/{number}")
    else:
        words = detail if isinstance(detail, list) else [detail]
        yield {"pointer": at, "detail": " ".join(str(word) for word in words)}
