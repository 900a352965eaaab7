"""The offline root CA: made once, opened only to certify an issuing CA."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pki.kernel import clock, files
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.pem import demand_one

ROOT_LIFE, ISSUING_LIFE = timedelta(days=20 * 365), timedelta(days=10 * 365)


def make_root(folder: Path, name: str) -> Path:
    """Make a root key and its self-signed certificate; return the certificate's path.

    Raises:
        ConflictError: there is a root in that folder.
    """
    private, public = folder / "root-ca.key", folder / "root-ca.pem"
    if private.exists():
        msg = f"{private} exists already and is not overwritten."
        raise ConflictError(msg)
    files.private_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = _certificate(subject, subject, key.public_key(), ROOT_LIFE, None).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    files.write_private(private, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    files.write_public(public, certificate.public_bytes(serialization.Encoding.PEM))
    return public


def certify(folder: Path, csr: bytes, permitted: Sequence[str] = ()) -> bytes:
    """Certify an issuing CA: path length 0, ten years; return the certificate in PEM.

    Args:
        folder: of the root.
        csr: in PEM.
        permitted: DNS subtrees that bound what the CA may certify (RFC 5280, 4.2.1.10); none for no bounds. Devices
            are named below ``DOMAIN.device.invalid``, doors by their host names.

    Raises:
        InvalidError: the request is malformed, or not signed by its own key.
    """
    try:
        request = x509.load_pem_x509_csr(demand_one(csr, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))
        request.subject.rfc4514_string()
    except ValueError as error:
        msg = "This is no certificate request in PEM."
        raise InvalidError(msg) from error
    public = request.public_key()
    if not request.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey):
        msg = "The request is not signed by its own elliptic curve key."
        raise InvalidError(msg)
    root = x509.load_pem_x509_certificate((folder / "root-ca.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "root-ca.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = "The root key is no elliptic curve key."
        raise InvalidError(msg)
    builder = _certificate(request.subject, root.subject, public, ISSUING_LIFE, 0)
    above = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above)
    builder = builder.add_extension(identifier, critical=False)
    if permitted:
        trees = x509.NameConstraints([x509.DNSName(one) for one in permitted], None)
        builder = builder.add_extension(trees, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def cross(folder: Path, other: bytes) -> bytes:
    """Certify another root's key by this root: a link that leads from one anchor to the other in a rollover.

    With the old root it is NewWithOld, with the new one OldWithNew (RFC 4210, 4.4); return it in PEM.

    Raises:
        InvalidError: the other certificate is no self-signed root with an elliptic curve key.
    """
    theirs = x509.load_pem_x509_certificate(demand_one(other, "CERTIFICATE"))
    public = theirs.public_key()
    try:
        theirs.verify_directly_issued_by(theirs)
    except (ValueError, TypeError, InvalidSignature) as error:
        msg = "Only a self-signed root is linked."
        raise InvalidError(msg) from error
    root = x509.load_pem_x509_certificate((folder / "root-ca.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "root-ca.key").read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(public, ec.EllipticCurvePublicKey):
        msg = "Both roots have elliptic curve keys."
        raise InvalidError(msg)
    life = min(root.not_valid_after_utc, theirs.not_valid_after_utc) - clock.now()
    builder = _certificate(theirs.subject, root.subject, public, life, None)
    above = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above)
    certificate = builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def describe(csr: bytes, permitted: Sequence[str] = ()) -> str:
    """Return what a request asks for, for the officer to read."""
    request = x509.load_pem_x509_csr(demand_one(csr, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))
    bounds = f"for names below {', '.join(permitted)} only" if permitted else "for any name"
    return f"an issuing CA named {request.subject.rfc4514_string()!r} (path length 0, ten years, {bounds})"


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: timedelta,
    path_length: int | None,
) -> x509.CertificateBuilder:
    now = clock.now()
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
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
