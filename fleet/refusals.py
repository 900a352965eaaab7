"""How a refusal is told over HTTP to people and programs: the status of each kind, and its problem document.

The console, the REST API and what refuses before either of them share this table; devices have their own
(``fleet.gateway.protocol``), because HTTP clients in the field know fewer codes.
"""

from collections.abc import Mapping

from fleet.observe import request_id
from pki.kernel.errors import Kind

PROBLEM_TYPE = "application/problem+json"
STATUS: Mapping[Kind, int] = {
    Kind.INTERNAL: 500,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.DENIED: 403,
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.PRECONDITION: 412,
    Kind.UNCONDITIONAL: 428,
    Kind.UNSUPPORTED: 415,
    Kind.PENDING: 202,
    Kind.NOT_ALLOWED: 405,
    Kind.NOT_ACCEPTABLE: 406,
    Kind.TOO_SLOW: 408,
    Kind.TOO_LARGE: 413,
}
#: kind of a refusal that comes as a status only, from Django or from the framework of the API
KINDS: Mapping[int, Kind] = {status: kind for kind, status in STATUS.items()} | {400: Kind.INVALID}
TITLES: Mapping[int, str] = {
    202: "Waiting for approval",
    400: "The request is malformed",
    401: "Authentication is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    408: "Too slow",
    409: "Conflict with the present state",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Unsupported media type",
    422: "The request breaks a rule",
    428: "A version is needed",
    429: "Too much",
    500: "Internal error",
    503: "A needed part does not answer",
}


def problem_document(status: int, kind: Kind, detail: str, **further: object) -> dict[str, object]:
    """Return a problem document (RFC 9457).

    Args:
        status: of HTTP.
        kind: names the problem; it becomes the document's ``type``.
        detail: one sentence for people.
        further: members of this problem only, such as ``errors`` with a pointer a field.
    """
    return {
        "type": f"urn:muster:problem:{kind}",
        "title": TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{request_id.get()}" if request_id.get() else "",
        **further,
    }
