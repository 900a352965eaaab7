"""Bodies of the device protocol: CBOR, or JSON with byte strings in hex."""

import json
from collections.abc import Mapping

from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from fleet.observe import request_id
from pki.kernel import cbor, intake, strict_json
from pki.kernel.errors import DomainError, InvalidError, UnsupportedError

MAX_BODY = 64 * 1024
CBOR, JSON = "application/cbor", "application/json"
#: the only field of a request for a signed document
NONCE = frozenset({"nonce"})


def decode_body(request: DeviceRequest, known: frozenset[str] | None, *, free_text: bool = False) -> dict[str, object]:
    """Return the body as a map with text keys. An empty body is an empty map.

    Args:
        request: the request.
        known: fields of this resource; others are refused by name. None if the service checks them.
        free_text: the body contains log text: replace characters that cannot be stored.

    Raises:
        UnsupportedError: the Content-Type is neither CBOR nor JSON.
        InvalidError: the body does not match its Content-Type, is not a map, or has an unknown field or a value that
            cannot be stored.
    """
    if not request.payload:
        return {}
    kind = media_type(request.headers.get("content-type", CBOR))
    if kind not in {CBOR, JSON}:
        msg = f"The Content-Type {intake.shown_name(kind, 60)} is not supported. Send a map as {CBOR} or {JSON}."
        raise UnsupportedError(msg)
    if kind == JSON:
        body = strict_json.read_json(request.payload, max_bytes=MAX_BODY, max_depth=8, lenient=free_text)
    else:
        body = cbor.loads(request.payload, max_bytes=MAX_BODY, lenient=free_text)
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        msg = "The body must be a map with text keys."
        raise InvalidError(msg)
    if known is not None and (unknown := sorted(set(body) - known)):
        names = ", ".join(intake.shown_name(name, 40) for name in unknown[:10])
        wanted = ", ".join(sorted(known)) or "none"
        msg = f"Unknown fields: {names}. Allowed fields: {wanted}."
        raise InvalidError(msg)
    return body


def body_octets(body: Mapping[str, object], name: str) -> bytes:
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
        msg = f"`{name}` must be a byte string (hex in JSON)."
        raise InvalidError(msg)
    return value


def encode_reply(request: DeviceRequest, value: object, device_id: int) -> Reply:
    """Return a reply in the format of the request."""
    if _wants_json(request):
        return Reply(ResponseOutcome.OK, json.dumps(value, default=bytes.hex).encode(), JSON, device_id=device_id)
    return Reply(ResponseOutcome.OK, cbor.dumps(value), CBOR, device_id=device_id)


def encode_refusal(request: DeviceRequest, outcome: ResponseOutcome, error: DomainError) -> Reply:
    """Return an error body: what is wrong, and the request id for the log."""
    body = {"error": error.kind, "detail": error.detail, "id": request_id.get()}
    headers = {}
    if outcome in {ResponseOutcome.LIMITED, ResponseOutcome.ACCEPTED, ResponseOutcome.UNAVAILABLE}:
        headers["retry-after"] = str(int(float(str(error.context.get("retry_after", 5)))) + 1)
    if outcome is ResponseOutcome.PRECONDITION and "tag" in error.context:
        headers["etag"] = str(error.context["tag"])
    if _wants_json(request):
        return Reply(outcome, json.dumps(body).encode(), JSON, headers)
    return Reply(outcome, cbor.dumps(body), CBOR, headers)


def media_type(field: str) -> str:
    """Return the media type without parameters, in lower case for comparison."""
    return field.partition(";")[0].strip().lower()


def _wants_json(request: DeviceRequest) -> bool:
    """Return whether the answer is JSON: by the Accept field, else by the format of the request."""
    accepted = {media_type(part) for part in request.headers.get("accept", "").split(",")} & {CBOR, JSON}
    if len(accepted) == 1:
        return JSON in accepted
    return media_type(request.headers.get("content-type", "")) == JSON
