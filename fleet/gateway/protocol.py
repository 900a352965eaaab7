"""The device protocol, independent of the transport: a transport passes a Request and receives a Reply."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from fleet.observe import request_id
from ota.services.downloads import Download
from pki.kernel import intake
from pki.kernel.errors import DomainError, ErrorKind, InvalidError
from pki.models.documents import UNSTORABLE

_logger = logging.getLogger(__name__)


class ResponseOutcome(Enum):
    """The outcome of a request, as an HTTP status; the CoAP transport maps it to its codes."""

    OK = 200
    CREATED = 201
    ACCEPTED = 202
    NO_CONTENT = 204
    NOT_MODIFIED = 304
    INVALID = 400
    UNAUTHENTICATED = 401
    DENIED = 403
    NOT_FOUND = 404
    NOT_ALLOWED = 405
    NOT_ACCEPTABLE = 406
    TOO_SLOW = 408
    CONFLICT = 409
    PRECONDITION = 412
    TOO_LARGE = 413
    UNSUPPORTED = 415
    UNCONDITIONAL = 428
    LIMITED = 429
    INTERNAL = 500
    UNAVAILABLE = 503


MOST_PATH, MOST_HOST = 1000, 255
BY_KIND: Mapping[ErrorKind, ResponseOutcome] = {
    ErrorKind.INTERNAL: ResponseOutcome.INTERNAL,
    ErrorKind.NOT_FOUND: ResponseOutcome.NOT_FOUND,
    ErrorKind.CONFLICT: ResponseOutcome.CONFLICT,
    ErrorKind.DENIED: ResponseOutcome.DENIED,
    ErrorKind.INVALID: ResponseOutcome.INVALID,
    ErrorKind.UNAUTHENTICATED: ResponseOutcome.UNAUTHENTICATED,
    ErrorKind.LIMITED: ResponseOutcome.LIMITED,
    ErrorKind.UNAVAILABLE: ResponseOutcome.UNAVAILABLE,
    ErrorKind.PRECONDITION: ResponseOutcome.PRECONDITION,
    ErrorKind.UNCONDITIONAL: ResponseOutcome.UNCONDITIONAL,
    ErrorKind.UNSUPPORTED: ResponseOutcome.UNSUPPORTED,
    ErrorKind.PENDING: ResponseOutcome.ACCEPTED,
    ErrorKind.NOT_ALLOWED: ResponseOutcome.NOT_ALLOWED,
    ErrorKind.NOT_ACCEPTABLE: ResponseOutcome.NOT_ACCEPTABLE,
    ErrorKind.TOO_SLOW: ResponseOutcome.TOO_SLOW,
    ErrorKind.TOO_LARGE: ResponseOutcome.TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class TransportPeer:
    """The peer of a connection, as authenticated by the transport.

    Args:
        fingerprint: hex SHA-256 of the leaf certificate, or empty.
        certificate: the leaf in DER, or empty.
        address: network address.
        binding: tls-unique of the connection (RFC 5929); empty in TLS 1.3, which has none.
    """

    fingerprint: str = ""
    certificate: bytes = b""
    address: str = ""
    binding: bytes = b""


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One request of a device.

    Args:
        peer: the authenticated peer.
        method: GET, HEAD, POST or PUT.
        path: decoded, without the query.
        host: host name that the client used, without the port.
        authority: host and port as the client used them.
        payload: body.
        headers: lower-case names; the first of each.
        claims: header fields with the client certificate from a proxy.
        forwarded: header fields with the client address from a proxy.
        subject: the device that a protocol adapter names, if any; it is never inferred from the peer alone.
    """

    peer: TransportPeer
    method: str
    path: str
    host: str
    authority: str
    payload: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    claims: tuple[tuple[bytes, bytes], ...] = ()
    forwarded: tuple[tuple[bytes, bytes], ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply that a transport sends.

    Args:
        outcome: outcome, mapped to a code of the transport.
        payload: body.
        content_type: content type of the body.
        headers: further header fields.
        file: file to send instead of the payload, with support for ranges.
        direct: whether the client may be redirected to the object store for that file.
        device_id: internal id of the device, for presence; 0 for none.
        routine: whether it counts as routine traffic of the device (downloads do not).
    """

    outcome: ResponseOutcome = ResponseOutcome.OK
    payload: bytes = b""
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    file: Download | None = None
    direct: bool = False
    device_id: int = 0
    routine: bool = True


def check_words(request: DeviceRequest) -> None:
    """Refuse invalid text in a path, a query or a stored header field. Each protocol adapter calls it first.

    Raises:
        InvalidError: the error names the part.
    """
    intake.check_identifier(request.path, "path", most=MOST_PATH)
    intake.check_identifier(request.host, "host", most=MOST_HOST)
    for name, value in request.query.items():
        intake.read_text(value, f"query {intake.shown_name(intake.check_identifier(name, 'query'))}")


ProtocolAdapter = Callable[[DeviceRequest], Reply | None]
Renderer = Callable[[DeviceRequest, ResponseOutcome, DomainError], Reply]


def answer_request(request: DeviceRequest, adapters: tuple[tuple[ProtocolAdapter, Renderer], ...]) -> Reply:
    """Dispatch to the first protocol adapter that handles the path. Convert refusals into its error format.

    An unexpected error becomes "internal" with the request's id. Its cause goes to the log only.
    """
    for adapter, render in adapters:
        try:
            reply = adapter(request)
        except DomainError as error:
            return render(request, BY_KIND[error.kind], error)
        except UNSTORABLE as error:
            _logger.warning("a value that the database cannot store passed all checks", exc_info=error)
            msg = "A value of the request cannot be stored. It is out of range, or not valid text."
            return render(request, ResponseOutcome.INVALID, InvalidError(msg))
        except Exception:
            _logger.exception("a request failed", extra={"path": request.path[:200]})
            msg = f"Internal server error. Report the request id to the operator: {request_id.get()}"
            return render(request, ResponseOutcome.INTERNAL, DomainError(msg))
        if reply is not None:
            return reply
    return Reply(ResponseOutcome.NOT_FOUND, b"not found\n", "text/plain; charset=utf-8")
