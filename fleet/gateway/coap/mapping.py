"""Between CoAP messages and the device protocol: codes, content formats, paths. Pure."""

from aiocoap import Message
from aiocoap.numbers import codes

from fleet.gateway.protocol import Outcome, Peer, Reply, Request
from pki.kernel.coap import FORMATS, NUMBERS, is_tag, tag_bytes, tag_text
from pki.kernel.errors import InvalidError

METHODS = {codes.GET: "GET", codes.POST: "POST", codes.PUT: "PUT"}
CODES = {
    Outcome.CREATED: codes.CREATED,
    Outcome.ACCEPTED: codes.SERVICE_UNAVAILABLE,  # RFC 9148, 4.7: come again with the same request after Max-Age
    Outcome.NO_CONTENT: codes.CHANGED,
    Outcome.INVALID: codes.BAD_REQUEST,
    Outcome.UNAUTHENTICATED: codes.UNAUTHORIZED,
    Outcome.DENIED: codes.FORBIDDEN,
    Outcome.NOT_FOUND: codes.NOT_FOUND,
    Outcome.NOT_ALLOWED: codes.METHOD_NOT_ALLOWED,
    Outcome.CONFLICT: codes.CONFLICT,
    Outcome.NOT_MODIFIED: codes.VALID,
    Outcome.PRECONDITION: codes.PRECONDITION_FAILED,
    Outcome.UNCONDITIONAL: codes.PRECONDITION_FAILED,
    Outcome.TOO_LARGE: codes.REQUEST_ENTITY_TOO_LARGE,
    Outcome.LIMITED: codes.TOO_MANY_REQUESTS,
    Outcome.INTERNAL: codes.INTERNAL_SERVER_ERROR,
    Outcome.UNAVAILABLE: codes.SERVICE_UNAVAILABLE,
}


def request(message: Message, peer: Peer) -> Request:
    """Return what a CoAP request asks.

    Raises:
        InvalidError: a method, a path or a content format that the device protocol has no word for.
    """
    method = METHODS.get(message.code)
    if method is None:
        msg = "Use GET, POST or PUT."
        raise InvalidError(msg)
    if any("/" in part or part in {"", ".", ".."} for part in message.opt.uri_path):
        msg = "A path segment is empty, or holds a slash or dots."
        raise InvalidError(msg)
    headers = {}
    for name, number in (("content-type", message.opt.content_format), ("accept", message.opt.accept)):
        if number is not None:
            headers[name] = _media(int(number))
    if message.opt.etags:
        headers["if-none-match"] = ",".join(tag_text(value) for value in message.opt.etags[:4])
    if message.opt.if_match:
        headers["if-match"] = ",".join(tag_text(value) for value in message.opt.if_match[:4])
    host = message.opt.uri_host or ""
    pairs = [part.partition("=") for part in message.opt.uri_query[:20]]
    return Request(
        peer=peer,
        method=method,
        path="/" + "/".join(message.opt.uri_path),
        host=host,
        authority=host,
        payload=bytes(message.payload),
        headers=headers,
        query={name: value for name, _, value in pairs},
    )


def response(asked: Request, reply: Reply) -> Message:
    """Return a reply as a CoAP response."""
    success = codes.CONTENT if asked.method == "GET" else codes.CHANGED
    made = Message(code=CODES.get(reply.outcome, success), payload=reply.payload)
    if reply.payload and (number := NUMBERS.get(reply.content_type)) is not None:
        made.opt.content_format = number
    if is_tag(reply.headers.get("etag", "")):
        made.opt.etag = tag_bytes(reply.headers["etag"])
    if "retry-after" in reply.headers:
        made.opt.max_age = int(reply.headers["retry-after"])
    return made


def _media(number: int) -> str:
    if number not in FORMATS:
        msg = f"The content format {number} is not known here."
        raise InvalidError(msg)
    return FORMATS[number]
