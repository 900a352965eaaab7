"""Bodies of the device protocol: CBOR, or JSON with byte strings in hex."""

import json
from typing import Any

from fleet.gateway.protocol import Outcome, Reply, Request
from fleet.observe import request_id
from pki.kernel import cbor
from pki.kernel.errors import DomainError, InvalidError

MAX_BODY = 64 * 1024
CBOR, JSON = "application/cbor", "application/json"


def decode(request: Request) -> dict[str, Any]:
    """Return the body as a map with text keys; an empty body is an empty map.

    Raises:
        InvalidError: neither CBOR nor JSON as its Content-Type says, or no map.
    """
    if not request.payload:
        return {}
    try:
        body = json.loads(request.payload) if _is_json(request) else cbor.loads(request.payload, max_bytes=MAX_BODY)
        good = not _is_json(request) or _is_text(body)
    except (ValueError, RecursionError, InvalidError) as error:
        form = "JSON" if _is_json(request) else "CBOR"
        msg = f"The body is not {form}; send a map as {CBOR} or {JSON}."
        raise InvalidError(msg) from error
    if not good:
        msg = "A text of the JSON holds a NUL or half a character, which no text has."
        raise InvalidError(msg)
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        msg = "The body is not a map with text keys."
        raise InvalidError(msg)
    return body


def octets(body: dict[str, Any], name: str) -> bytes:
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
    if _is_json(request):
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
    if _is_json(request):
        return Reply(outcome, json.dumps(body).encode(), JSON, headers)
    return Reply(outcome, cbor.dumps(body), CBOR, headers)


def _is_text(value: object) -> bool:
    """Say whether every text in a JSON value can be written: the reader of CBOR refuses the others by itself."""
    if isinstance(value, str):
        return "\0" not in value and all(not "\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(_is_text(one) for pair in value.items() for one in pair)
    return all(map(_is_text, value)) if isinstance(value, list) else True


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type") or request.headers.get("accept", "")
    return "json" in kind
