"""The offline root CA: created once, then used only to certify issuing CAs."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pki.kernel import clock, files
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.pem import demand_one_block
from pki.kernel.public_keys import PublicKey, accept_key, describe_type, key_identity
from pki.kernel.shown import make_printable

ROOT_LIFE, ISSUING_LIFE = timedelta(days=20 * 365), timedelta(days=10 * 365)
#: start of validity before now, for clocks that are slow
BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Certification:
    """A CA certificate before it is signed. ``lines`` shows exactly what ``sign`` signs.

    Args:
        what: kind of CA, for display.
        subject: subject of the certificate.
        key: the certified public key.
        begins: start of the validity.
        ends: end of the validity.
        path_length: path length constraint; None for no constraint.
        permitted: permitted DNS subtrees (name constraints); empty for no constraint.
        issuer: certificate of the signing root.
        signer: private key of the signing root.
    """

    what: str
    subject: x509.Name
    key: ec.EllipticCurvePublicKey
    begins: datetime
    ends: datetime
    path_length: int | None
    permitted: tuple[str, ...]
    issuer: x509.Certificate
    signer: ec.EllipticCurvePrivateKey

    def lines(self) -> list[str]:
        """Return the text to confirm, line by line, with control characters escaped."""
        below = "any number of CAs" if self.path_length is None else f"{self.path_length} CAs"
        names = f"only names below {', '.join(self.permitted)}" if self.permitted else "any name"
        found = [
            f"CERTIFIES {self.what}:",
            *_facts(self.subject, self.key, self.begins, self.ends),
            f"  may certify {names}, with {below} below it",
            "SIGNED BY the root:",
            *certificate_lines(self.issuer),
        ]
        return [make_printable(line) for line in found]

    def sign(self) -> bytes:
        """Return the certificate in PEM."""
        builder = _certificate(self.subject, self.issuer.subject, self.key, (self.begins, self.ends), self.path_length)
        above = self.issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above)
        builder = builder.add_extension(identifier, critical=False)
        if self.permitted:
            trees = x509.NameConstraints([x509.DNSName(name) for name in self.permitted], None)
            builder = builder.add_extension(trees, critical=True)
        return builder.sign(self.signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def certificate_lines(certificate: x509.Certificate) -> list[str]:
    """Return the subject, key, validity and digest of a certificate, line by line."""
    began, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    digest = certificate.fingerprint(hashes.SHA256()).hex()
    lines = [
        *_facts(certificate.subject, accept_key(certificate.public_key()), began, ends),
        f"  certificate: SHA-256 {digest}",
    ]
    return [make_printable(line) for line in lines]


def _facts(subject: x509.Name, key: PublicKey, begins: datetime, ends: datetime) -> list[str]:
    return [
        f"  subject: {subject.rfc4514_string()}",
        f"  key: {describe_type(key)}, SHA-256 of its SubjectPublicKeyInfo {key_identity(key)}",
        f"  valid: {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC",
    ]


def make_root_ca(folder: Path, name: str) -> Path:
    """Create a root key and its self-signed certificate. Return the path of the certificate.

    Raises:
        ConflictError: the folder already contains a root CA.
    """
    private, public = folder / "root-ca.key", folder / "root-ca.pem"
    if private.exists():
        msg = f"{private} already exists and is not overwritten. Choose another folder."
        raise ConflictError(msg)
    files.private_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    valid = clock.now() - BACKDATED, clock.now() + ROOT_LIFE
    certificate = _certificate(subject, subject, key.public_key(), valid, None).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    files.write_private(private, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    files.write_public(public, certificate.public_bytes(serialization.Encoding.PEM))
    return public


def certify_issuing_ca(folder: Path, csr: bytes, permitted: Sequence[str] = ()) -> bytes:
    """Certify an issuing CA and return the certificate in PEM. See ``issuing_ca`` for arguments and errors."""
    return issuing_ca(folder, csr, permitted).sign()


def issuing_ca(folder: Path, csr: bytes, permitted: Sequence[str] = ()) -> Certification:
    """Return the unsigned certification of an issuing CA: path length 0, valid for ten years.

    Args:
        folder: folder of the root CA.
        csr: certificate request in PEM.
        permitted: permitted DNS subtrees of the CA (RFC 5280, 4.2.1.10); empty for no constraint. Devices have names
            below ``DOMAIN.device.invalid``; listeners use their host names.

    Raises:
        InvalidError: the request is malformed, or its own key did not sign it.
    """
    try:
        request = x509.load_pem_x509_csr(demand_one_block(csr, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))
        request.subject.rfc4514_string()
    except ValueError as error:
        msg = "The file is not a certificate request in PEM."
        raise InvalidError(msg) from error
    public = request.public_key()
    if not request.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
        msg = "The certificate request must be signed by its own elliptic curve key."
        raise InvalidError(msg)
    begins = clock.now() - BACKDATED
    ends, root = clock.now() + ISSUING_LIFE, _root(folder)
    return Certification("an issuing CA", request.subject, public, begins, ends, 0, tuple(permitted), *root)


def cross_certify(folder: Path, other: bytes) -> bytes:
    """Cross-certify another root and return the certificate in PEM. See ``unsigned_link`` for arguments and errors."""
    return unsigned_link(folder, other).sign()


def unsigned_link(folder: Path, other: bytes) -> Certification:
    """Return the unsigned cross-certificate of another root, which links two trust anchors during a rollover.

    Signed by the old root it is NewWithOld, signed by the new root it is OldWithNew (RFC 4210, 4.4).

    Args:
        folder: folder of the root CA that signs.
        other: certificate of the other root in PEM.

    Raises:
        InvalidError: the other certificate is not a self-signed root with an elliptic curve key.
    """
    theirs = x509.load_pem_x509_certificate(demand_one_block(other, "CERTIFICATE"))
    public = theirs.public_key()
    try:
        theirs.verify_directly_issued_by(theirs)
    except (ValueError, TypeError, InvalidSignature) as error:
        msg = "The other certificate is not self-signed. Only a root CA can be cross-certified."
        raise InvalidError(msg) from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        msg = "The other root must have an elliptic curve key."
        raise InvalidError(msg)
    root, key = _root(folder)
    begins, ends = clock.now() - BACKDATED, min(root.not_valid_after_utc, theirs.not_valid_after_utc)
    what = f"another root, valid until {theirs.not_valid_after_utc:%Y-%m-%d}"
    return Certification(what, theirs.subject, public, begins, ends, None, (), root, key)


def _root(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the certificate and key of a root CA.

    Raises:
        InvalidError: the key is not an elliptic curve key, or does not match the certificate.
    """
    path = folder / "root-ca.pem"
    root = x509.load_pem_x509_certificate(demand_one_block(path.read_bytes(), "CERTIFICATE", what=str(path)))
    key = serialization.load_pem_private_key((folder / "root-ca.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = "The root key must be an elliptic curve key."
        raise InvalidError(msg)
    if key_identity(key.public_key()) != key_identity(accept_key(root.public_key())):
        msg = f"{folder}: root-ca.key does not match root-ca.pem."
        raise InvalidError(msg)
    return root, key


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid: tuple[datetime, datetime],
    path_length: int | None,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(secrets.token_bytes(20), "big") >> 1 | 1 << 152)
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
