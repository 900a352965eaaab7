"""Enrolment over Secure Transport (RFC 7030, RFC 8951): cacerts, simpleenroll, simplereenroll."""

import base64
import binascii

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from devices.services import enrolment
from fleet.gateway import identity, native
from fleet.gateway.protocol import Outcome, Reply, Request
from fleet.observe import request_id
from pki import selectors
from pki.kernel.errors import DomainError, InvalidError, UnauthenticatedError
from pki.models import Certificate, TrustDomain

ROOT = "/.well-known/est/"
MAX_BASE64 = 16 * 1024
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
OPERATIONS = {"cacerts": "GET", "simpleenroll": "POST", "simplereenroll": "POST"}


def dialect(request: Request) -> Reply | None:
    """Answer paths below ``/.well-known/est/``, with or without a label."""
    if not request.path.startswith(ROOT):
        return None
    label, _, operation = request.path[len(ROOT) :].rpartition("/")
    if operation not in OPERATIONS or "/" in label:
        return Reply(Outcome.NOT_FOUND, b"There is no such EST operation.\n", "text/plain; charset=utf-8")
    if request.method != OPERATIONS[operation]:
        return Reply(Outcome.NOT_ALLOWED, b"", "text/plain", {"allow": OPERATIONS[operation]})
    domain = identity.domain_by_slug(label) if label else identity.domain_by_host(request.host)
    return {"cacerts": _cacerts, "simpleenroll": _enrol, "simplereenroll": _reenrol}[operation](request, domain)


def render(_request: Request, outcome: Outcome, error: DomainError) -> Reply:
    """Return a refusal as plain text, asking for a password where one would help."""
    headers = {"www-authenticate": 'Basic realm="est"'} if outcome is Outcome.UNAUTHENTICATED else {}
    return Reply(outcome, f"{error.detail}\n".encode(), "text/plain; charset=utf-8", headers)


def _cacerts(_request: Request, domain: TrustDomain) -> Reply:
    return _certs_only(selectors.anchors(domain.slug))


def _enrol(request: Request, domain: TrustDomain) -> Reply:
    enrolled = enrolment.enrol(
        domain=domain.slug, secret=_secret(request), csr=_csr(request), via="est", request_id=request_id.get()
    )
    reply = _certs_only([_parsed(enrolled.certificate)])
    return Reply(reply.outcome, reply.payload, reply.content_type, device_id=enrolled.device.pk, routine=False)


def _reenrol(request: Request, domain: TrustDomain) -> Reply:
    who = identity.device(request, domain, "est", renewing=True)
    native.gate(who, allowed=False)
    certificate = enrolment.reenrol(actor=who.actor, device=who.device, csr=_csr(request), current=who.certificate)
    return _certs_only([_parsed(certificate)])


def _secret(request: Request) -> str:
    """Return the token from HTTP Basic (any user name) or Bearer."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as error:
            msg = "The Authorization header is malformed."
            raise InvalidError(msg) from error
    msg = "Send the enrolment token as the password of HTTP Basic, or as a bearer token."
    raise UnauthenticatedError(msg)


def _csr(request: Request) -> bytes:
    """Return the DER of a base64 body; white space is passed over."""
    if len(request.payload) > MAX_BASE64:
        msg = f"The certificate request is longer than {MAX_BASE64} bytes."
        raise InvalidError(msg)
    try:
        return base64.b64decode(b"".join(request.payload.split()), validate=True)
    except binascii.Error as error:
        msg = "The body is not base64 of a PKCS#10 request in DER."
        raise InvalidError(msg) from error


def _certs_only(certificates: list[x509.Certificate]) -> Reply:
    """Return certificates as PKCS#7 in one unbroken line: strongSwan reads no other."""
    data = pkcs7.serialize_certificates(certificates, serialization.Encoding.DER)
    return Reply(Outcome.OK, base64.b64encode(data), CERTS_ONLY)


def _parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes(certificate.der))
