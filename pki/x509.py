"""Certificates and requests as this CA reads and builds them (RFC 5280, RFC 2986). Plain values, no I/O."""

import ipaddress
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from pki import constraints, der
from pki.csr import MAX_CSR, check_key_type, check_possession, csr_key, parse_csr, read_csr
from pki.kernel.errors import InvalidError
from pki.keys import PublicKey, curve_hash, spki, spki_sha256
from pki.profiles import DEVICE, OCSP, SERVER, CertificateRules

MAX_NAME = 64
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9][A-Za-z0-9-]{0,62}(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*")
URN = "urn:muster:device:{domain}:{key}"
SHARDS = 256

__all__ = [
    "MAX_CSR",
    "PROFILES",
    "CaKey",
    "Issuer",
    "Subject",
    "authority_csr",
    "certificate_fingerprint",
    "check_authority",
    "check_key_type",
    "check_possession",
    "csr_key",
    "device_subject",
    "device_urn",
    "issue_certificate",
    "issued_by",
    "key_id",
    "parse_csr",
    "random_serial",
    "read_csr",
    "responder_subject",
    "server_subject",
    "shard_of",
    "spki_sha256",
    "throw_away",
]


class CaKey(Protocol):
    """A CA's private key as far as the CA needs it; it may be stored in a token."""

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return its curve."""

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""

    def sign(self, data: bytes, signature_algorithm: ec.ECDSA) -> bytes:
        """Return an ECDSA signature in DER."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuing CA in the signer's hand.

    Args:
        certificate: of the CA.
        key: its private key, or what signs in its place.
        status_url: where its CRLs and its OCSP responder are reached; empty for nowhere.
    """

    certificate: x509.Certificate
    key: "CaKey"
    status_url: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate names: built by the CA, never copied from a request.

    Args:
        common_name: for people only.
        names: the subject alternative names.
        key: the public key.
    """

    common_name: str
    names: tuple[x509.GeneralName, ...]
    key: PublicKey


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return the hex SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def device_urn(domain: str, key: str) -> str:
    """Return the name under which a certificate knows a device."""
    return URN.format(domain=domain, key=key)


def device_subject(domain: str, key: str, name: str, public: PublicKey) -> Subject:
    """Return the subject of a device: URI SAN and dNSName from its public id, common name for people."""
    names = (
        x509.UniformResourceIdentifier(device_urn(domain, key)),
        x509.DNSName(f"{key}.{domain}.device.invalid"),
    )
    return Subject(_short(name), names, public)


def server_subject(host_names: list[str], public: PublicKey) -> Subject:
    """Return the subject of a server certificate: the names and addresses of the listener.

    Raises:
        InvalidError: no name, or more than twenty.
    """
    if not 0 < len(host_names) <= 20:  # noqa: PLR2004  because twenty names are plenty for one server
        msg = "A server certificate needs 1 to 20 host names. Set FLEET_HOST_NAMES."
        raise InvalidError(msg)
    return Subject(_short(host_names[0]), tuple(_host(name) for name in host_names), public)


def responder_subject(name: str, public: PublicKey) -> Subject:
    """Return the subject of an OCSP responder that a CA has delegated (RFC 6960, section 4.2.2.2)."""
    return Subject(_short(name), (), public)


def issue_certificate(
    issuer: Issuer, profile: CertificateRules, subject: Subject, now: datetime, until: datetime
) -> x509.Certificate:
    """Build and sign one end-entity certificate; never past the issuer's own end.

    Args:
        issuer: certificate and key of the issuing CA.
        profile: decides key usage; nothing of a request does.
        subject: whom it names.
        now: aware time of issue.
        until: wished end; cut to the profile's validity and to the issuer's end.

    Raises:
        InvalidError: a name is outside the issuer's name constraints.
    """
    parent, serial = issuer.certificate, random_serial()
    constraints.check_names(parent, subject.names)
    end = min(until, now + profile.validity, parent.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)]))
        .issuer_name(parent.subject)
        .public_key(subject.key)
        .serial_number(serial)
        .not_valid_before(max(now - profile.backdate, parent.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_digital_signature(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([profile.usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject.key), critical=False)
        .add_extension(_authority_key(parent), critical=False)
    )
    if subject.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(subject.names), critical=False)
    for extension in _status(issuer, profile, serial):
        builder = builder.add_extension(extension, critical=False)
    return _signed_certificate(builder, issuer.key)


def _signed_certificate(builder: x509.CertificateBuilder, key: CaKey) -> x509.Certificate:
    """Sign; for a key that the library cannot hold, around the body that it builds for a throw-away key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return builder.sign(key, curve_hash(key))
    stand_in = throw_away(key.curve.name)
    draft = builder.sign(stand_in, curve_hash(stand_in))
    whole = _resigned(draft.tbs_certificate_bytes, draft.public_bytes(Encoding.DER), key)
    return x509.load_der_x509_certificate(whole)


def _resigned(tbs: bytes, draft: bytes, key: CaKey) -> bytes:
    return der.signed_der(tbs, der.sequence_parts(draft)[1], key.sign(tbs, ec.ECDSA(curve_hash(key))))


@cache
def throw_away(curve: str) -> ec.EllipticCurvePrivateKey:
    """Return a key whose signatures are replaced: the library signs only with keys that it holds itself."""
    return ec.generate_private_key(ec.SECP384R1() if curve == "secp384r1" else ec.SECP256R1())


def _status(issuer: Issuer, profile: CertificateRules, serial: int) -> list[x509.ExtensionType]:
    """Return where to ask for a certificate's status; nobody checks a responder's own (RFC 6960, 4.2.2.2.1)."""
    if profile is OCSP:
        return [x509.OCSPNoCheck()]
    if not issuer.status_url:
        return []
    places = [x509.UniformResourceIdentifier(crl_url(issuer, shard_of(serial)))]
    point = x509.DistributionPoint(places, None, None, None)
    responder = x509.UniformResourceIdentifier(f"{issuer.status_url}/ocsp")
    above = x509.UniformResourceIdentifier(f"{issuer.status_url}/ca/{key_id(issuer.certificate)}.cer")
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, responder),
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, above),
    ]
    return [x509.CRLDistributionPoints([point]), x509.AuthorityInformationAccess(access)]


def shard_of(serial: int) -> int:
    """Return which of the 256 CRLs of its issuer covers a serial number: its last byte, which is random."""
    return serial % SHARDS


def crl_url(issuer: Issuer, shard: int) -> str:
    """Return where one CRL of an issuer is fetched; its IssuingDistributionPoint says the same."""
    return f"{issuer.status_url}/crl/{key_id(issuer.certificate)}/{shard:02x}.crl"


def key_id(certificate: x509.Certificate) -> str:
    """Return a CA's subject key identifier in hex: it names the CA in all its certificates."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a CA's key signed a certificate that names it as its issuer."""
    return _signed_by(certificate, issuer)


def authority_csr(key: CaKey, name: str) -> x509.CertificateSigningRequest:
    """Return the request of an issuing CA, to be carried to the offline root."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _short(name))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return builder.sign(key, curve_hash(key))
    return _token_csr(builder, key)


def _token_csr(builder: x509.CertificateSigningRequestBuilder, key: CaKey) -> x509.CertificateSigningRequest:
    """Build a request for a key in a token: the body names the throw-away key, so its point is exchanged first."""
    stand_in = throw_away(key.curve.name)
    draft = builder.sign(stand_in, curve_hash(stand_in))
    body = draft.tbs_certrequest_bytes.replace(spki(stand_in.public_key()), spki(key.public_key()))
    return x509.load_der_x509_csr(_resigned(body, draft.public_bytes(Encoding.DER), key))


def check_authority(certificate: x509.Certificate, root: x509.Certificate, key: object, now: datetime) -> None:
    """Make sure that a certificate is an issuing CA's, under this root, for this key, and in time.

    Raises:
        InvalidError: it names what is wrong.
    """
    try:
        problems = _authority_problems(certificate, root, key, now)
    except (x509.ExtensionNotFound, ValueError) as error:
        msg = f"The issuing CA's certificate or its root is refused: {error}."
        raise InvalidError(msg) from error
    if faults := [text for text, wrong in problems.items() if wrong]:
        msg = f"The issuing CA's certificate is refused: {'; '.join(faults)}."
        raise InvalidError(msg)


def _authority_problems(
    certificate: x509.Certificate, root: x509.Certificate, key: object, now: datetime
) -> dict[str, bool]:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    above = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    return {
        "it is not a CA with path length 0": not (constraints.value.ca and constraints.value.path_length == 0),
        "its basicConstraints are not critical": not constraints.critical,
        "it may not sign certificates": not usage.key_cert_sign,
        "it is not for the signer's key": certificate.public_key() != key,
        "it is not valid now": not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc,
        "its root is not a CA that may issue CA certificates": not above.ca or above.path_length == 0,
        "its root is not valid now": not root.not_valid_before_utc <= now <= root.not_valid_after_utc,
        "it does not chain to the given root": not _signed_by(certificate, root),
        "the given root is not self-signed": not _signed_by(root, root),
    }


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def random_serial() -> int:
    """Return 20 octets of randomness as a positive serial number (RFC 5280, 4.1.2.2)."""
    return int.from_bytes(secrets.token_bytes(20), "big") >> 1 | (1 << 152)


def _short(name: str) -> str:
    """Cut a common name to what RFC 5280 allows, counted as the library counts: in bytes."""
    return name.encode()[:MAX_NAME].decode(errors="ignore")


def _host(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    if not _HOST.fullmatch(name):
        msg = f"{name[:80]!r} is not a host name; write international names in their xn-- form."
        raise InvalidError(msg)
    return x509.DNSName(name)


def _authority_key(parent: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = parent.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _digital_signature() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


PROFILES = {profile.name: profile for profile in (DEVICE, SERVER, OCSP)}
