"""Certificate requests (PKCS#10, RFC 2986) as this CA reads them: bounded, of a known key type, and proved."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki.errors import CsrError
from pki.keys import KEY_TYPES, PublicKey, key_type

MAX_CSR = 8192
P256_ONLY = frozenset({"p256"})
_NO_REQUEST = "This is not a PKCS#10 certificate request in DER."


def parse_csr(data: bytes, key_types: frozenset[str] = P256_ONLY) -> x509.CertificateSigningRequest:
    """Read a certificate request and check that its key signed it.

    Args:
        data: PKCS#10 in DER.
        key_types: of ``pki.keys.KEY_TYPES``, as the profile allows them.

    Raises:
        CsrError: too long, not DER, a key of another type, or the signature is not by that key.
    """
    csr = read_csr(data, key_types)
    check_possession(csr)
    return csr


def read_csr(data: bytes, key_types: frozenset[str] = P256_ONLY) -> x509.CertificateSigningRequest:
    """Read a certificate request without checking its signature: only for who hands it to the signer, which does.

    Raises:
        CsrError: too long, not DER, or a key of another type.
    """
    if len(data) > MAX_CSR:
        msg = f"The certificate request has {len(data)} bytes; at most {MAX_CSR} are read."
        raise CsrError(msg)
    try:
        csr = x509.load_der_x509_csr(data)
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CsrError(_NO_REQUEST) from error
    check_key_type(key, key_types)
    return csr


def check_possession(csr: x509.CertificateSigningRequest) -> None:
    """Make sure that a request is signed by the key that it names.

    Raises:
        CsrError: it is not.
    """
    try:
        proved = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CsrError(_NO_REQUEST) from error
    if not proved:
        msg = "The request is not signed by the key that it names; sign it with the device's own key."
        raise CsrError(msg)


def check_key_type(key: object, key_types: frozenset[str]) -> None:
    """Refuse a key that a profile does not take.

    Raises:
        CsrError: it names what the profile takes.
    """
    if key_type(key) not in key_types:
        wanted = ", ".join(KEY_TYPES[name] for name in sorted(key_types))
        msg = f"The profile takes keys of these types only: {wanted}. Make a new key and request."
        raise CsrError(msg)


def csr_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    """Return the key of a request that ``parse_csr`` has accepted."""
    key = csr.public_key()
    if not isinstance(key, PublicKey):
        msg = "The key is of no type that this CA takes."
        raise CsrError(msg)
    return key
