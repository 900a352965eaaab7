"""Find out why OpenSSL refuses a CMS signature: one cause, and what to do about it.

The texts of OpenSSL change between versions, so nothing here reads them: the numbers of the error codes (they are part
of its ABI, ``cmserr.h``) say what is wrong with signature and content, our own look at the certificates the rest.
"""

import re

from cryptography import x509

from ota.formats.judgement import TrustAnchor

_CODE = re.compile(r":error:([0-9A-F]{8}):")
_LIBRARY_SHIFT, _REASON = 23, 0x7FFFFF
_ASN1, _CMS = 13, 46
_NO_SIGNERS, _NO_CONTENT, _NO_CERTIFICATE, _CONTENT_DIFFERS, _SIGNATURE_WRONG = 135, 127, 138, 109, 158
DETACHED = "has no embedded content: the signature is detached."
#: in this order: a wrong content raises the code of the wrong signature as well
_WORDS = (
    ((_CMS, _NO_CONTENT), DETACHED),
    ((_CMS, _NO_SIGNERS), "carries no signature. Sign it."),
    ((_CMS, _NO_CERTIFICATE), "does not carry its signer's certificate. Sign it again with the certificate included."),
    (
        (_CMS, _CONTENT_DIFFERS),
        "is not the file that was signed: it was changed since. Sign this one, or upload the other.",
    ),
    ((_CMS, _SIGNATURE_WRONG), "carries a signature that was changed. Sign it again."),
)
UNKNOWN_CA = "is not signed under a registered signing CA. Register its CA (`manage.py bundle trust`)."
_OUT_OF_TIME = "was signed with a certificate that is not valid now: sign it with a valid one."
_CA_OUT_OF_TIME = "was signed under a signing CA that is not valid now. Register its successor and sign it again."


def error_codes(said: str) -> set[tuple[int, int]]:
    """Return (library, reason) of each error that OpenSSL 3 printed."""
    numbers = [int(code, 16) for code in _CODE.findall(said)]
    return {(number >> _LIBRARY_SHIFT & 0xFF, number & _REASON) for number in numbers}


def signature_cause(said: str) -> str:
    """Return what is wrong with a signature of any signer, from the output of ``openssl cms -verify -noverify``."""
    codes = error_codes(said)
    known = next((words for code, words in _WORDS if code in codes), "")
    if known:
        return known
    if any(library == _ASN1 for library, _ in codes):
        return "carries no readable CMS signature (DER of SignedData, RFC 5652). Sign it again."
    listed = ", ".join(f"{library}/{reason}" for library, reason in sorted(codes)) or "none"
    return f"carries a CMS signature that OpenSSL refuses (error codes {listed}). Sign it again."


def chain_cause(signer: x509.Certificate, anchors: list[TrustAnchor], at: int) -> str:
    """Return why a valid signature chains to no anchor.

    Args:
        signer: whose signature is good.
        anchors: the signing CAs.
        at: unix time.
    """
    issuers = [ca for ca in map(_certificate, anchors) if ca is not None and _issued(signer, ca)]
    if not issuers:
        return UNKNOWN_CA
    if not _valid(signer, at):
        return _OUT_OF_TIME
    if not any(_valid(issuer, at) for issuer in issuers):
        return _CA_OUT_OF_TIME
    return (
        "is signed under a registered signing CA, but OpenSSL rejects the certificates. Reissue the signer's "
        "certificate."
    )


def _certificate(anchor: TrustAnchor) -> x509.Certificate | None:
    return x509.load_pem_x509_certificate(anchor.pem.encode()) if "CERTIFICATE" in anchor.pem else None


def _issued(signer: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        signer.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001  because each kind of key has its own error here
        return False
    return True


def _valid(certificate: x509.Certificate, at: int) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= at < certificate.not_valid_after_utc.timestamp()
