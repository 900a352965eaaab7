"""Read OCSP requests and build answers (RFC 6960, RFC 5019) with a responder that the CA delegated. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from pki.crl import REASONS

MAX_REQUEST = 4096
MAX_NONCE = 32
LIFE = timedelta(hours=1)
HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class Question:
    """An OCSP request.

    Args:
        algorithm: hash of the certificate id, the asker's choice.
        name_hash: of the issuer's name.
        key_hash: of the issuer's key.
        serial: of the certificate.
        nonce: to be echoed, or None.
    """

    algorithm: hashes.HashAlgorithm
    name_hash: bytes
    key_hash: bytes
    serial: int
    nonce: bytes | None


@dataclass(frozen=True, slots=True)
class OcspStatus:
    """What is known of a certificate: good, revoked since a time for a reason, or nothing."""

    known: bool
    revoked_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Responder:
    """A delegated responder: its key and certificate, and the CA that it answers for."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    issuer: x509.Certificate


def issuer_hashes(issuer: x509.Certificate) -> dict[tuple[str, bytes], bytes]:
    """Return (name of a hash, hash of the CA's key) -> hash of the CA's name, for each hash one may ask by."""
    name, hashes_by_name = issuer.subject.public_bytes(), {}
    for kind in HASHES:
        algorithm = kind()
        hashes_by_name[algorithm.name, _key_hash(issuer, algorithm)] = _hash(name, algorithm)
    return hashes_by_name


def read_question(data: bytes) -> Question | None:
    """Return the question in a DER request, or None when it is malformed or asks about several certificates."""
    if len(data) > MAX_REQUEST:
        return None
    try:
        request = ocsp.load_der_ocsp_request(data)
        nonce = _nonce(request.extensions)
        question = Question(
            request.hash_algorithm, request.issuer_name_hash, request.issuer_key_hash, request.serial_number, nonce
        )
    except (ValueError, TypeError, RuntimeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return None
    return None if nonce is not None and not 0 < len(nonce) <= MAX_NONCE else question


def sign_answer(responder: Responder, question: Question, standing: OcspStatus, now: datetime) -> bytes:
    """Return a signed answer in DER; an unknown certificate is ``unknown``, never ``good``."""
    status = ocsp.OCSPCertStatus.UNKNOWN
    if standing.known:
        status = ocsp.OCSPCertStatus.REVOKED if standing.revoked_at else ocsp.OCSPCertStatus.GOOD
    reason = REASONS[standing.reason] if standing.revoked_at and standing.reason != "unspecified" else None
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=question.name_hash,
        issuer_key_hash=question.key_hash,
        serial_number=question.serial,
        algorithm=question.algorithm,
        cert_status=status,
        this_update=now,
        next_update=now + LIFE,
        revocation_time=standing.revoked_at,
        revocation_reason=reason,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    builder = builder.certificates([responder.certificate])
    if question.nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(question.nonce), critical=False)
    return builder.sign(responder.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def malformed_answer() -> bytes:
    """Return the unsigned answer to what is no request."""
    return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)


def unauthorized_answer() -> bytes:
    """Return the unsigned answer to a question about another CA (RFC 5019, 2.2.3)."""
    return _unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)


def try_later() -> bytes:
    """Return the unsigned answer of a responder that cannot sign now."""
    return _unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)


def answer_digest(der: bytes) -> str:
    """Return the hex SHA-256 of an answer, for its ETag."""
    return _hash(der, hashes.SHA256()).hex()


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)


def _nonce(extensions: x509.Extensions) -> bytes | None:
    try:
        return extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None


def _hash(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _key_hash(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bytes:
    """Return the hash of the key's bit string, without tag and length (RFC 6960, 4.1.1)."""
    key = certificate.public_key()
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return _hash(point, algorithm)
