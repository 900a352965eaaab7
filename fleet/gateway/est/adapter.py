"""Protocol adapter for Enrolment over Secure Transport (RFC 7030, RFC 8951): all operations except fullcmc.

This module handles HTTP: base64, media types, status codes. ``operations`` implements the operations, also for
EST-coaps (RFC 9148).
"""

import base64
import binascii
import secrets

from fleet.gateway import identity
from fleet.gateway.est import operations
from fleet.gateway.est.operations import EstLabel
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, check_words
from pki.kernel.errors import DomainError, InvalidError, UnauthenticatedError

ROOT = "/.well-known/est/"
MAX_BASE64 = 16 * 1024
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
METHODS = {
    "cacerts": "GET",
    "csrattrs": "GET",
    "simpleenroll": "POST",
    "simplereenroll": "POST",
    "serverkeygen": "POST",
}
PLAIN = "text/plain; charset=utf-8"


def answer_est(request: DeviceRequest) -> Reply | None:
    """Answer paths below ``/.well-known/est/``, with or without a label."""
    if not request.path.startswith(ROOT):
        return None
    check_words(request)
    label, _, operation = request.path[len(ROOT) :].rpartition("/")
    if operation not in METHODS or "/" in label:
        return Reply(ResponseOutcome.NOT_FOUND, b"There is no such EST operation.\n", PLAIN)
    if request.method != METHODS[operation]:
        return Reply(ResponseOutcome.NOT_ALLOWED, b"", "text/plain", {"allow": METHODS[operation]})
    est_label = operations.parse_est_label(label, identity.domain_by_host, request.host)
    return {
        "cacerts": _cacerts,
        "csrattrs": _csrattrs,
        "simpleenroll": _enrol,
        "simplereenroll": _reenrol,
        "serverkeygen": _keygen,
    }[operation](request, est_label)


def render_est_refusal(_request: DeviceRequest, outcome: ResponseOutcome, error: DomainError) -> Reply:
    """Return a refusal as plain text, with a password challenge if one helps, and the time to retry."""
    headers = {"www-authenticate": 'Basic realm="est"'} if outcome is ResponseOutcome.UNAUTHENTICATED else {}
    if outcome in {ResponseOutcome.ACCEPTED, ResponseOutcome.LIMITED}:
        headers["retry-after"] = str(int(float(str(error.context.get("retry_after", 5)))) or 1)
    return Reply(outcome, f"{error.detail}\n".encode(), PLAIN, headers)


def _cacerts(_request: DeviceRequest, est_label: EstLabel) -> Reply:
    return _base64(operations.est_cacerts(est_label), CERTS_ONLY)


def _csrattrs(_request: DeviceRequest, est_label: EstLabel) -> Reply:
    return _base64(operations.est_csrattrs(est_label), "application/csrattrs")


def _enrol(request: DeviceRequest, est_label: EstLabel) -> Reply:
    issued = operations.enrol_device(est_label, request.peer, _secret(request), _csr(request))
    return _base64(issued.certificates, CERTS_ONLY, issued.device_id)


def _reenrol(request: DeviceRequest, est_label: EstLabel) -> Reply:
    return _base64(operations.est_reenrol(est_label, request, _csr(request)).certificates, CERTS_ONLY)


def _keygen(request: DeviceRequest, est_label: EstLabel) -> Reply:
    """Return key and certificate as two parts (RFC 7030, 4.4.2)."""
    issued = operations.est_keygen(est_label, request.peer, _secret(request), _csr(request))
    boundary = f"est-{secrets.token_hex(12)}"
    parts = [("application/pkcs8", issued.key), (CERTS_ONLY, issued.certificates)]
    text = "".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{_text(data)}\r\n"
        for kind, data in parts
    )
    body = f"{text}--{boundary}--\r\n".encode()
    headers = {"cache-control": "no-store"}
    return Reply(ResponseOutcome.OK, body, f"multipart/mixed; boundary={boundary}", headers, device_id=issued.device_id)


def _secret(request: DeviceRequest) -> str:
    """Return the token from HTTP Basic (any user name) or Bearer; empty without the field."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return ""
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError as error:  # not base64, not ASCII, or not UTF-8 inside
            msg = "The Authorization field is not valid. HTTP Basic must contain base64 of NAME:TOKEN."
            raise InvalidError(msg) from error
    msg = "Send the enrolment token as the password of HTTP Basic, or as a bearer token."
    raise UnauthenticatedError(msg)


def _csr(request: DeviceRequest) -> bytes:
    """Return the DER of a base64 body. Ignore white space."""
    if len(request.payload) > MAX_BASE64:
        msg = f"The certificate request is longer than {MAX_BASE64} bytes."
        raise InvalidError(msg)
    try:
        return base64.b64decode(b"".join(request.payload.split()), validate=True)
    except binascii.Error as error:
        msg = "The body must be base64 of a PKCS#10 request in DER."
        raise InvalidError(msg) from error


def _base64(data: bytes, kind: str, device_id: int = 0) -> Reply:
    """Return DER as one line of base64, because strongSwan requires it."""
    return Reply(ResponseOutcome.OK, base64.b64encode(data), kind, device_id=device_id, routine=False)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
