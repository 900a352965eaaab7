"""Certificates of other issuers, parsed completely: fields that the library parses lazily are read here.

Encoders in the field write defaults that DER leaves out: ``critical FALSE`` (RFC 5280, 4.1) and ``cA FALSE`` (4.2.1.9).
Such a certificate is read without them; its signature is verified over the received bytes.
"""

from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pki import der
from pki.kernel.errors import InvalidError

_EXTENSIONS, _OCTETS = 0xA3, 0x04
_FALSE = b"\x01\x01\x00"
_BASIC_CONSTRAINTS = b"\x06\x03\x55\x1d\x13"
#: fields that the library parses when they are asked for
_LATE = (
    "version", "subject", "issuer", "not_valid_before_utc", "not_valid_after_utc", "public_key",
    "signature_algorithm_parameters", "extensions",
)  # fmt: skip
#: what reading a late field may raise
BROKEN = (ValueError, TypeError, KeyError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A certificate that this server has not issued.

    Args:
        certificate: its fields; for its bytes and its signature ask the other two.
        der: as it came.
        tbs: the part that is signed, as it came.
    """

    certificate: x509.Certificate
    der: bytes
    tbs: bytes

    @property
    def fingerprint(self) -> str:
        """Return the hex SHA-256 of the received bytes."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.der)
        return digest.finalize().hex()

    def is_issued_by(self, above: x509.Certificate) -> bool:
        """Return whether a CA's key signed it, and it names that CA as its issuer."""
        with suppress(InvalidSignature, *BROKEN):
            if self.certificate.issuer == above.subject:
                _verify(above.public_key(), self.certificate, self.tbs)
                return True
        return False


def read_certificate(data: bytes, what: str = "The certificate") -> Foreign:
    """Return a certificate all of whose fields can be read.

    Args:
        data: in DER.
        what: names it in the sentence of a refusal.

    Raises:
        InvalidError: it says which field is malformed.
    """
    try:
        usual = _without_defaults(data)
        certificate = x509.load_der_x509_certificate(usual)
        tbs = der.sequence_parts(data)[0]
    except BROKEN as error:
        msg = f"{what} is not an X.509 certificate in DER: {_reason(error)}."
        raise InvalidError(msg) from error
    for field in _LATE:
        try:
            value = getattr(certificate, field)
            if callable(value):
                value()
        except BROKEN as error:
            msg = f"{what} has a malformed {field.replace('_', ' ')}: {_reason(error)}."
            raise InvalidError(msg) from error
    return Foreign(certificate, data, tbs)


def _without_defaults(data: bytes) -> bytes:
    """Return a certificate without explicit defaults in its extensions; anything else comes back as it is."""
    try:
        tbs, algorithm, signature = der.sequence_parts(data)
        fields = der.sequence_parts(tbs)
        if fields[-1][0] != _EXTENSIONS:
            return data
        _, start, _ = der.read_element(fields[-1])
        listed = [_usual(part) for part in der.sequence_parts(fields[-1][start:])]
    except (InvalidError, ValueError, IndexError):
        return data  # the library says what is wrong
    extensions = der.tlv(_EXTENSIONS, der.tlv(der.SEQUENCE, b"".join(listed)))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, b"".join(fields[:-1]) + extensions) + algorithm + signature)


def _usual(extension: bytes) -> bytes:
    oid, *rest = der.sequence_parts(extension)
    if rest[0] == _FALSE:
        rest = rest[1:]
    if oid == _BASIC_CONSTRAINTS and rest[-1][0] == _OCTETS:
        _, start, _ = der.read_element(rest[-1])
        inner = der.sequence_parts(rest[-1][start:])
        if inner[:1] == [_FALSE]:
            rest[-1] = der.tlv(_OCTETS, der.tlv(der.SEQUENCE, b"".join(inner[1:])))
    return der.tlv(der.SEQUENCE, oid + b"".join(rest))


def _verify(key: object, certificate: x509.Certificate, tbs: bytes) -> None:
    algorithm = certificate.signature_hash_algorithm
    parameters = certificate.signature_algorithm_parameters
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(certificate.signature, tbs)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        key.verify(certificate.signature, tbs, parameters)
    elif (
        isinstance(key, rsa.RSAPublicKey)
        and isinstance(parameters, padding.PKCS1v15 | padding.PSS)
        and algorithm is not None
        and not isinstance(algorithm, hashes.SHA1 | hashes.MD5)
    ):
        key.verify(certificate.signature, tbs, parameters, algorithm)
    else:
        raise InvalidSignature


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".")[:160] or type(error).__name__
