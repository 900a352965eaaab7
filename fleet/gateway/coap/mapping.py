"""Convert between CoAP messages and the device protocol: codes, content formats, paths. Pure."""

from collections import Counter

from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber

from fleet.gateway.coap import measured
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, TransportPeer
from fleet.wire import limits
from pki.kernel.coap import FORMATS, NUMBERS, is_tag, tag_bytes, tag_text
from pki.kernel.errors import InvalidError

#: supported critical options (RFC 7252, 5.4.1; RFC 7959; RFC 8613): an unknown one refuses the request
CRITICAL = frozenset({1, 3, 7, 9, 11, 15, 17, 23, 27})
PROXY = frozenset({35, 39})
METHODS = {codes.GET: "GET", codes.POST: "POST", codes.PUT: "PUT"}
CODES = {
    ResponseOutcome.CREATED: codes.CREATED,
    ResponseOutcome.ACCEPTED: codes.SERVICE_UNAVAILABLE,  # RFC 9148, 4.7: repeat the same request after Max-Age
    ResponseOutcome.NO_CONTENT: codes.CHANGED,
    ResponseOutcome.INVALID: codes.BAD_REQUEST,
    ResponseOutcome.UNAUTHENTICATED: codes.UNAUTHORIZED,
    ResponseOutcome.DENIED: codes.FORBIDDEN,
    ResponseOutcome.NOT_FOUND: codes.NOT_FOUND,
    ResponseOutcome.NOT_ALLOWED: codes.METHOD_NOT_ALLOWED,
    ResponseOutcome.NOT_ACCEPTABLE: codes.NOT_ACCEPTABLE,
    ResponseOutcome.TOO_SLOW: codes.REQUEST_ENTITY_INCOMPLETE,
    ResponseOutcome.UNSUPPORTED: codes.UNSUPPORTED_CONTENT_FORMAT,
    ResponseOutcome.CONFLICT: codes.CONFLICT,
    ResponseOutcome.NOT_MODIFIED: codes.VALID,
    ResponseOutcome.PRECONDITION: codes.PRECONDITION_FAILED,
    ResponseOutcome.UNCONDITIONAL: codes.PRECONDITION_FAILED,
    ResponseOutcome.TOO_LARGE: codes.REQUEST_ENTITY_TOO_LARGE,
    ResponseOutcome.LIMITED: codes.TOO_MANY_REQUESTS,
    ResponseOutcome.INTERNAL: codes.INTERNAL_SERVER_ERROR,
    ResponseOutcome.UNAVAILABLE: codes.SERVICE_UNAVAILABLE,
}


measured.measure_options()


class CoapRefusalError(InvalidError):
    """A request that CoAP itself refuses.

    Args:
        code: of the answer.
        detail: its diagnostic payload (RFC 7252, 5.5.2).
    """

    def __init__(self, code: codes.Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def convert_request(message: Message, peer: TransportPeer) -> DeviceRequest:
    """Convert a CoAP request.

    Raises:
        CoapRefusalError: the device protocol does not support the method, an option, the path or the content format.
    """
    _check_options(message)
    method = METHODS.get(message.code)
    if method is None:
        raise CoapRefusalError(codes.METHOD_NOT_ALLOWED, "Use GET, POST or PUT.")
    if any("/" in part or part in {"", ".", ".."} for part in message.opt.uri_path):
        raise CoapRefusalError(
            codes.BAD_REQUEST, "A path segment must not be empty, contain a slash, or consist of dots."
        )
    if len(message.opt.uri_query) > limits.MOST_QUERY:
        raise CoapRefusalError(codes.BAD_REQUEST, f"A query must have at most {limits.MOST_QUERY} fields.")
    headers = {}
    if formats := message.opt.get_option(OptionNumber.CONTENT_FORMAT)[:1]:
        headers["content-type"] = _media(int(formats[0].value), codes.UNSUPPORTED_CONTENT_FORMAT)
    if message.opt.accept is not None:
        headers["accept"] = _media(int(message.opt.accept), codes.NOT_ACCEPTABLE)
    if message.opt.etags:
        headers["if-none-match"] = ",".join(tag_text(value) for value in message.opt.etags[:4])
    if message.opt.if_match:
        headers["if-match"] = ",".join(tag_text(value) for value in message.opt.if_match[:4])
    host = message.opt.uri_host or ""
    pairs = [part.partition("=") for part in message.opt.uri_query]
    return DeviceRequest(
        peer=peer,
        method=method,
        path="/" + "/".join(message.opt.uri_path),
        host=host,
        authority=host,
        payload=bytes(message.payload),
        headers=headers,
        query={name: value for name, _, value in pairs},
    )


def convert_reply(asked: DeviceRequest, reply: Reply) -> Message:
    """Return a reply as a CoAP response."""
    accepted = asked.headers.get("accept", reply.content_type)
    if reply.payload and reply.outcome is ResponseOutcome.OK and accepted != reply.content_type:
        return Message(code=codes.NOT_ACCEPTABLE, payload=f"Accept must allow {reply.content_type}.".encode())
    success = codes.CONTENT if asked.method == "GET" else codes.CHANGED
    message = Message(code=CODES.get(reply.outcome, success), payload=reply.payload)
    if reply.payload and (number := NUMBERS.get(reply.content_type)) is not None:
        message.opt.content_format = number
    if is_tag(reply.headers.get("etag", "")):
        message.opt.etag = tag_bytes(reply.headers["etag"])
    if "retry-after" in reply.headers:
        message.opt.max_age = int(reply.headers["retry-after"])
    return message


def _check_options(message: Message) -> None:
    """Refuse critical options that are unknown, repeated or of a wrong length, and drop such elective ones.

    RFC 7252, 5.4.1, 5.4.3 and 5.4.5: repeated and malformed options are treated as unknown ones.
    """
    counts = Counter(option.number for option in message.opt.option_list())
    if PROXY & counts.keys():
        raise CoapRefusalError(codes.PROXYING_NOT_SUPPORTED, "This server does not act as a proxy.")
    for number in sorted(counts):
        options = message.opt.get_option(number)
        fit = [option for option in options if measured.is_option_length(option)]
        if number & 1:
            _check_critical(number, len(options), all_fit=len(fit) == len(options))
        elif len(fit) < len(options):
            message.opt.delete_option(number)
            for option in fit:
                message.opt.add_option(option)


def _check_critical(number: OptionNumber, count: int, *, all_fit: bool) -> None:
    if int(number) not in CRITICAL:
        wrong = "is not supported"
    elif not all_fit:
        wrong = "has an invalid length"
    elif count > 1 and number not in measured.REPEATABLE:
        wrong = "occurs more than once"
    else:
        return
    raise CoapRefusalError(codes.BAD_OPTION, f"The critical option {measured.name_of(number)} {wrong}.")


def _media(number: int, code: codes.Code) -> str:
    if number not in FORMATS:
        raise CoapRefusalError(code, f"The content format {number} is not supported.")
    return FORMATS[number]
