"""HTTP status codes and problem documents (RFC 9457) for domain errors.

The console, the REST API and the checks before both share this table. The device gateway has its own table
(``fleet.gateway.protocol``), because HTTP clients on devices know fewer status codes.
"""

from collections.abc import Mapping

from fleet.observe import request_id
from pki.kernel.errors import ErrorKind

PROBLEM_TYPE = "application/problem+json"
STATUS: Mapping[ErrorKind, int] = {
    ErrorKind.INTERNAL: 500,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.DENIED: 403,
    ErrorKind.INVALID: 422,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.LIMITED: 429,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.PRECONDITION: 412,
    ErrorKind.UNCONDITIONAL: 428,
    ErrorKind.UNSUPPORTED: 415,
    ErrorKind.PENDING: 202,
    ErrorKind.NOT_ALLOWED: 405,
    ErrorKind.NOT_ACCEPTABLE: 406,
    ErrorKind.TOO_SLOW: 408,
    ErrorKind.TOO_LARGE: 413,
}
#: status of an error from Django or the API framework -> kind
KINDS: Mapping[int, ErrorKind] = {status: kind for kind, status in STATUS.items()} | {400: ErrorKind.INVALID}
TITLES: Mapping[int, str] = {
    202: "Approval pending",
    400: "Malformed request",
    401: "Authentication required",
    403: "Access denied",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict with the current state",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Invalid request",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}


def problem_document(status: int, kind: ErrorKind, detail: str, **further: object) -> dict[str, object]:
    """Return a problem document (RFC 9457).

    Args:
        status: HTTP status code.
        kind: kind of error, which determines the ``type`` of the document.
        detail: message for people.
        further: additional members, such as ``errors`` with one JSON pointer per field.
    """
    return {
        "type": f"urn:muster:problem:{kind}",
        "title": TITLES.get(status, "Request rejected"),
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{request_id.get()}" if request_id.get() else "",
        **further,
    }
