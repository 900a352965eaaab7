"""Protocol adapter for EST over secure CoAP (RFC 9148): short names, raw DER and CoAP content formats.

Clients authenticate with a certificate in the DTLS handshake; there are no passwords. Enrolment accepts vendor
certificates and expected keys, renewal accepts certificates of this server.
"""

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from fleet.gateway import identity
from fleet.gateway.est import operations
from fleet.gateway.est.adapter import CERTS_ONLY, PLAIN, ROOT
from fleet.gateway.est.operations import EnrolmentAnswer, EstLabel
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, check_words
from pki.kernel import cbor
from pki.kernel.errors import DomainError

METHODS = {"crts": "GET", "att": "GET", "sen": "POST", "sren": "POST", "skg": "POST", "skc": "POST"}
PKIX_CERT, MULTIPART, CSR_ATTRS = "application/pkix-cert", "application/multipart-core", "application/csrattrs"
#: content formats inside a multipart-core answer (RFC 9148, 4.8)
PKCS8_FORMAT, CERTS_ONLY_FORMAT, PKIX_CERT_FORMAT = 284, 281, 287


def answer_est_coaps(request: DeviceRequest) -> Reply | None:
    """Answer paths below ``/.well-known/est/``, with or without a label."""
    if not request.path.startswith(ROOT):
        return None
    check_words(request)
    label, _, operation = request.path[len(ROOT) :].rpartition("/")
    if operation not in METHODS or "/" in label:
        return Reply(ResponseOutcome.NOT_FOUND, b"There is no such EST operation.", PLAIN)
    if request.method != METHODS[operation]:
        return Reply(ResponseOutcome.NOT_ALLOWED, b"", PLAIN)
    est_label = operations.parse_est_label(label, identity.domain_by_host, request.host)
    return {
        "crts": lambda: Reply(ResponseOutcome.OK, operations.est_cacerts(est_label), CERTS_ONLY),
        "att": lambda: Reply(ResponseOutcome.OK, operations.est_csrattrs(est_label), CSR_ATTRS),
        "sen": lambda: _certificate(request, operations.enrol_device(est_label, request.peer, "", request.payload)),
        "sren": lambda: _certificate(request, operations.est_reenrol(est_label, request, request.payload)),
        "skg": lambda: _key(request, est_label, bare=False),
        "skc": lambda: _key(request, est_label, bare=True),
    }[operation]()


def render_diagnostic(_request: DeviceRequest, outcome: ResponseOutcome, error: DomainError) -> Reply:
    """Return a refusal as a diagnostic payload (RFC 7252, 5.5.2), with the time to retry."""
    wait = str(int(float(str(error.context.get("retry_after", 5)))) or 1)
    headers = {"retry-after": wait} if outcome in {ResponseOutcome.ACCEPTED, ResponseOutcome.LIMITED} else {}
    return Reply(outcome, error.detail.encode(), PLAIN, headers)


def _certificate(request: DeviceRequest, issued: EnrolmentAnswer) -> Reply:
    """Return only the certificate, in the content format that the client accepts."""
    if request.headers.get("accept") == PKIX_CERT:
        return Reply(ResponseOutcome.OK, _bare(issued), PKIX_CERT, device_id=issued.device_id, routine=False)
    return Reply(ResponseOutcome.OK, issued.certificates, CERTS_ONLY, device_id=issued.device_id, routine=False)


def _key(request: DeviceRequest, est_label: EstLabel, *, bare: bool) -> Reply:
    issued = operations.est_keygen(est_label, request.peer, "", request.payload)
    second = (PKIX_CERT_FORMAT, _bare(issued)) if bare else (CERTS_ONLY_FORMAT, issued.certificates)
    body = cbor.dumps([PKCS8_FORMAT, issued.key, *second])
    return Reply(ResponseOutcome.OK, body, MULTIPART, device_id=issued.device_id, routine=False)


def _bare(issued: EnrolmentAnswer) -> bytes:
    leaf = pkcs7.load_der_pkcs7_certificates(issued.certificates)[0]
    return leaf.public_bytes(Encoding.DER)
