"""Certificate requests (PKCS#10, RFC 2986) as this CA accepts them: bounded, known key type, valid signature."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki import der
from pki.errors import CsrError
from pki.kernel.errors import InvalidError
from pki.keys import KEY_TYPES, PublicKey, key_type, spki

MAX_CSR = 8192
P256_ONLY = frozenset({"p256"})
#: PKCS#9 (RFC 2985, 5.4): OIDs in DER; both have a single value
CHALLENGE_PASSWORD = bytes.fromhex("06092a864886f70d010907")
_SINGLE = frozenset({CHALLENGE_PASSWORD, bytes.fromhex("06092a864886f70d01090e")})
_ATTRIBUTES, _SET = 0xA0, 0x31
#: DirectoryString and IA5String: UTF8, Printable, Teletex, IA5
_STRINGS = frozenset({0x0C, 0x13, 0x14, 0x16})
_TWICE = "An attribute of the request appears twice. Give it once."
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
    """Read a certificate request without checking its signature: only for callers whose signer does.

    Raises:
        CsrError: too long, not DER, a key of another type or in another form than a certificate carries, or a field is
            malformed.
    """
    if len(data) > MAX_CSR:
        msg = f"The certificate request has {len(data)} bytes; the maximum is {MAX_CSR}."
        raise CsrError(msg)
    try:
        csr = x509.load_der_x509_csr(data)
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CsrError(_NO_REQUEST) from error
    check_key_type(key, key_types)
    _check_fields(csr)
    _check_spelling(csr, key)
    return csr


def challenge_password(csr: x509.CertificateSigningRequest) -> bytes | None:
    """Return the challengePassword of a request (PKCS#9), or None when there is none.

    Raises:
        CsrError: the attributes are malformed.
    """
    values = _attributes(csr).get(CHALLENGE_PASSWORD)
    if values is None:
        return None
    tag, start, end = der.read_element(values[0])
    if tag not in _STRINGS:
        msg = "The request's challengePassword is not a string of a type that PKCS#9 allows."
        raise CsrError(msg)
    return values[0][start:end]


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


def _check_fields(csr: x509.CertificateSigningRequest) -> None:
    """Touch what the library parses late, so that nothing of it raises anywhere else."""
    try:
        csr.subject.rfc4514_string()
    except (ValueError, TypeError, KeyError) as error:
        msg = f"The request's subject is malformed: {str(error)[:120].rstrip('.')}. Write names as UTF8String."
        raise CsrError(msg) from error
    challenge_password(csr)


def _check_spelling(csr: x509.CertificateSigningRequest, key: object) -> None:
    """Refuse a key that a certificate would carry in other bytes: the device could not use it as it means to."""
    _, _, written, *_ = der.sequence_parts(csr.tbs_certrequest_bytes)
    if isinstance(key, PublicKey) and written != spki(key):
        msg = (
            "The request's key is not encoded as in a certificate: RSA as rsaEncryption with NULL parameters, "
            "a curve by its name with an uncompressed point. RSA-PSS keys, compressed points and explicit curve "
            "parameters are not accepted. Create the request with a key in the usual form."
        )
        raise CsrError(msg)


def _attributes(csr: x509.CertificateSigningRequest) -> dict[bytes, list[bytes]]:
    """Return the attributes of a request, OID to values, both in DER (RFC 2986, 4.1); the library takes one each."""
    attributes: dict[bytes, list[bytes]] = {}
    try:
        for field in der.sequence_parts(csr.tbs_certrequest_bytes)[3:]:
            for element in der.inner_elements(field, _ATTRIBUTES):
                name, values = der.sequence_parts(element)
                if name in attributes:
                    raise CsrError(_TWICE)
                attributes[name] = der.inner_elements(values, _SET)
    except (InvalidError, ValueError, IndexError) as error:
        if isinstance(error, CsrError):
            raise
        msg = "The request's attributes are malformed: each is an OID and a SET of values in DER."
        raise CsrError(msg) from error
    if any(len(values) != 1 if name in _SINGLE else not values for name, values in attributes.items()):
        msg = "An attribute of the request has no value, or several where PKCS#9 allows one."
        raise CsrError(msg)
    return attributes


def check_key_type(key: object, key_types: frozenset[str]) -> None:
    """Refuse a key that a profile does not accept.

    Raises:
        CsrError: it names what the profile takes.
    """
    if key_type(key) not in key_types:
        names = ", ".join(KEY_TYPES[name] for name in sorted(key_types))
        msg = f"The profile accepts keys of these types only: {names}. Make a new key and request."
        raise CsrError(msg)


def csr_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    """Return the key of a request that ``parse_csr`` has accepted."""
    key = csr.public_key()
    if not isinstance(key, PublicKey):
        msg = "This CA does not accept keys of this type."
        raise CsrError(msg)
    return key
