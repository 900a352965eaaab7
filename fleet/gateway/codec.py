"""Bodies of the device protocol: CBOR, or JSON with byte strings in hex."""

import json
from collections.abc import Mapping

from fleet.gateway.protocol import Outcome, Reply, Request
from fleet.observe import request_id
from pki.kernel import cbor, intake, strict_json
from pki.kernel.errors import DomainError, InvalidError, UnsupportedError

MAX_BODY = 64 * 1024
CBOR, JSON = "application/cbor", "application/json"
#: the one field of what the director signs for
NONCE = frozenset({"nonce"})


def decode(request: Request, known: frozenset[str] | None, *, free_text: bool = False) -> dict[str, object]:
    """Return the body as a map with text keys; an empty body is an empty map.

    Args:
        request: of the device protocol.
        known: fields of this resource; another one is refused by its name. None when its service checks them itself.
        free_text: the body carries what the device logs: characters that cannot be stored are replaced, not refused.

    Raises:
        UnsupportedError: the Content-Type is neither CBOR nor JSON.
        InvalidError: neither CBOR nor JSON as its Content-Type says, no map, an unknown field, or a value that cannot
            be stored.
    """
    if not request.payload:
        return {}
    kind = media_type(request.headers.get("content-type", CBOR))
    if kind not in {CBOR, JSON}:
        msg = f"The Content-Type is {intake.shown(kind, 60)}. Send a map as {CBOR} or {JSON}."
        raise UnsupportedError(msg)
    if kind == JSON:
        body = strict_json.read_json(request.payload, max_bytes=MAX_BODY, max_depth=8, lenient=free_text)
    else:
        body = cbor.loads(request.payload, max_bytes=MAX_BODY, lenient=free_text)
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        msg = "The body is not a map with text keys."
        raise InvalidError(msg)
    if known is not None and (unknown := sorted(set(body) - known)):
        names = ", ".join(intake.shown(name, 40) for name in unknown[:10])
        wanted = ", ".join(sorted(known)) or "none"
        msg = f"Unknown fields: {names}. This resource takes: {wanted}."
        raise InvalidError(msg)
    return body


def octets(body: Mapping[str, object], name: str) -> bytes:
    """Return a byte string of a body (hex in JSON).

    Raises:
        InvalidError: missing or of another type.
    """
    value = body.get(name)
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            value = None
    if not isinstance(value, bytes):
        msg = f"`{name}` is a byte string (hex in JSON)."
        raise InvalidError(msg)
    return value


def encode(request: Request, value: object, device_id: int) -> Reply:
    """Return a reply in the form that the request came in."""
    if _wants_json(request):
        return Reply(Outcome.OK, json.dumps(value, default=bytes.hex).encode(), JSON, device_id=device_id)
    return Reply(Outcome.OK, cbor.dumps(value), CBOR, device_id=device_id)


def refusal(request: Request, outcome: Outcome, error: DomainError) -> Reply:
    """Return an error body: what is wrong, and the id under which the log knows it."""
    body = {"error": error.kind, "detail": error.detail, "id": request_id.get()}
    headers = {}
    if outcome in {Outcome.LIMITED, Outcome.ACCEPTED, Outcome.UNAVAILABLE}:
        headers["retry-after"] = str(int(float(str(error.context.get("retry_after", 5)))) + 1)
    if outcome is Outcome.PRECONDITION and "tag" in error.context:
        headers["etag"] = str(error.context["tag"])
    if _wants_json(request):
        return Reply(outcome, json.dumps(body).encode(), JSON, headers)
    return Reply(outcome, cbor.dumps(body), CBOR, headers)


def media_type(field: str) -> str:
    """Return type and subtype without parameters, in lower case: they are compared without regard to case."""
    return field.partition(";")[0].strip().lower()


def _wants_json(request: Request) -> bool:
    """Say whether the answer is JSON: what the client accepts decides, and else the form of its body."""
    accepted = {media_type(one) for one in request.headers.get("accept", "").split(",")} & {CBOR, JSON}
    if len(accepted) == 1:
        return JSON in accepted
    return media_type(request.headers.get("content-type", "")) == JSON
