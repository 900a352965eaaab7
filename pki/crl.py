"""Certificate revocation lists in shards (RFC 5280, 5; measured: adding entries by the library is quadratic).

Each entry is kept as the DER that it has in the list. A list is a skeleton of the library with the entries spliced in,
signed again: a million revocations are 256 lists of some milliseconds each.
"""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki import der
from pki.kernel.errors import InvalidError
from pki.keys import curve_hash
from pki.x509 import Issuer, crl_url, throw_away

REASONS = {
    "unspecified": x509.ReasonFlags.unspecified,
    "keyCompromise": x509.ReasonFlags.key_compromise,
    "affiliationChanged": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
    "privilegeWithdrawn": x509.ReasonFlags.privilege_withdrawn,
}
_CODES = {
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}
_INTEGER, _UTC_TIME, _GENERALIZED = 0x02, 0x17, 0x18
_NO_SIGNATURE = bytes.fromhex("3006020101020101")
#: id-ce-cRLReasons (2.5.29.21) as an OBJECT IDENTIFIER
_REASON_OID = bytes.fromhex("0603551d15")
#: places in TBSCertList: version, algorithm, issuer, thisUpdate, nextUpdate, revokedCertificates, extensions
_ENTRIES = 5


def crl_entry(serial: int, at: datetime, reason: str) -> bytes:
    """Return one entry of a list in DER: 39 bytes, or 53 with a reason.

    Args:
        serial: of the certificate.
        at: aware time of the revocation.
        reason: of ``REASONS``; ``unspecified`` is left out, as RFC 5280 5.3.1 wants it.
    """
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    year_2050 = 2050
    late = at.year >= year_2050
    stamp = at.strftime("%Y%m%d%H%M%SZ" if late else "%y%m%d%H%M%SZ").encode()
    body = der.tlv(_INTEGER, number) + der.tlv(_GENERALIZED if late else _UTC_TIME, stamp)
    if reason != "unspecified":
        value = bytes((0x04, 0x03, 0x0A, 0x01, _CODES[reason]))
        body += der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, _REASON_OID + value))
    return der.tlv(der.SEQUENCE, body)


def build_crl(
    issuer: Issuer, shard: int, entries: bytes, number: int, now: datetime, until: datetime
) -> tuple[bytes, int]:
    """Return one signed list in DER, and how many entries it holds.

    Args:
        issuer: the CA.
        shard: which of its lists.
        entries: joined DER entries.
        number: CRLNumber; the caller sees to it that it only grows.
        now: thisUpdate.
        until: nextUpdate.

    Raises:
        InvalidError: something in the entries is none; nothing has been signed then.
    """
    parts = der.sequence_parts(_skeleton(issuer, shard, number, now, until))
    parts[_ENTRIES] = der.tlv(der.SEQUENCE, entries) if entries else b""
    tbs = der.tlv(der.SEQUENCE, b"".join(parts))
    try:
        # The library reads the whole list before it is signed, around a placeholder for the real signature.
        held = len(x509.load_der_x509_crl(der.signed_der(tbs, parts[1], _NO_SIGNATURE)))
    except ValueError as error:
        msg = "This is not an entry of a revocation list."
        raise InvalidError(msg) from error
    signature = issuer.key.sign(tbs, ec.ECDSA(curve_hash(issuer.key)))
    return der.signed_der(tbs, parts[1], signature), held


def _skeleton(issuer: Issuer, shard: int, number: int, now: datetime, until: datetime) -> bytes:
    """Return the TBSCertList of a list with one placeholder entry; its signature is discarded."""
    parent = issuer.certificate
    identifier = parent.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    point = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(crl_url(issuer, shard))],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    dummy = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(now).build()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(parent.subject)
        .last_update(now)
        .next_update(until)
        .add_extension(above, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(point, critical=True)
        .add_revoked_certificate(dummy)
    )
    key = throw_away(issuer.key.curve.name)
    return builder.sign(key, curve_hash(key)).tbs_certlist_bytes
