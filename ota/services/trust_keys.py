"""Register and withdraw the public keys and CA certificates that vouch for artefacts."""

import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.db import transaction

from devices.selectors import vendor_identities
from ota.models import Bundle, TrustKey
from ota.selectors import bundles as rows
from pki import selectors as ground
from pki.foreign import read_certificate
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.pem import demand_one
from pki.kernel.public_keys import accept_key, key_identity, read_pem
from pki.services import ledger, own_keys

_MAX_PEM, _MAX_CRL = 16 * 1024, 4 << 20
_BY_CA = {TrustKey.Format.SWU, TrustKey.Format.RAUC}
_BY_EITHER = {TrustKey.Format.TFLITE, TrustKey.Format.ONNX, TrustKey.Format.OMS, TrustKey.Format.GENERIC}
_LEAST_RSA = 2048


def add(*, actor: Actor, name: str, format: str, component: str = "", product: str = "", pem: str) -> TrustKey:  # noqa: A002  because it is the word of bundle.json
    """Let a key vouch for artefacts of a format, on one component or (empty) on any.

    Adding the same key under the same name again changes nothing.

    Args:
        actor: a security officer.
        name: unique in the domain.
        format: ``mcuboot``, ``esp`` and ``mender`` take a public key, ``swu`` and ``rauc`` a signing CA's certificate,
            ``tflite``, ``onnx``, ``oms`` and ``generic`` either.
        component: slot on the device.
        product: id of the only bundles that it vouches for; empty for any.
        pem: the public half; a private key is refused.

    Raises:
        InvalidError: it is no usable public key or certificate.
        ConflictError: the name is taken by another key.
    """
    actor.require(Role.SECURITY_OFFICER)
    domain = ground.domain(actor.domain)
    pem, fingerprint = _read(format, pem)
    wanted = {
        "format": format,
        "component": component,
        "product": product,
        "fingerprint": fingerprint,
        "withdrawn_at": None,
    }
    with transaction.atomic():
        key, made = TrustKey.objects.get_or_create(domain=domain, name=name[:100], defaults={**wanted, "pem": pem})
        if not made and any(getattr(key, field) != value for field, value in wanted.items()):
            msg = f"The name {name!r} belongs to another trust key. Choose another name."
            raise ConflictError(msg)
        if made:
            detail = {"name": name, "format": format, "component": component, "product": product}
            detail |= {"fingerprint": fingerprint}
            ledger.record(actor=actor, action="trust-key.added", thing=("trust-key", key.public_id), detail=detail)
    return key


def withdraw(*, actor: Actor, key: TrustKey) -> TrustKey:
    """Let a key vouch for nothing that is uploaded from now on."""
    actor.require(Role.SECURITY_OFFICER)
    with transaction.atomic():
        found = TrustKey.objects.select_for_update().get(pk=rows.trust_key(actor.domain, key.public_id).pk)
        if found.withdrawn_at is None:
            found.withdrawn_at = clock.now()
            found.save(update_fields=["withdrawn_at"])
            ledger.record(actor=actor, action="trust-key.withdrawn", thing=("trust-key", found.public_id))
    return found


def strangers(keys: list[TrustKey]) -> list[TrustKey]:
    """Return the keys without those of CAs that certify devices, whichever of the two came first."""
    issuers = own_keys.known_identities() | vendor_identities() if keys else set()
    return [key for key in keys if _identity(key) not in issuers]


def _identity(key: TrustKey) -> str:
    """Return the identity of a registered key; empty for a kind that no CA here can have."""
    try:
        if "CERTIFICATE" in key.pem:
            return own_keys.identity_of(x509.load_pem_x509_certificate(key.pem.encode()))
        return key_identity(read_pem(key.pem))
    except InvalidError:
        return ""


def renew_crl(*, actor: Actor, key: TrustKey, crl: str) -> list[Bundle]:
    """Register the newest CRL of a signing CA; what is uploaded from now on is compared with it.

    Returns:
        bundles that a signer vouched for whom this CRL revokes: look at them, and withdraw their releases.

    Raises:
        InvalidError: no CRL of this CA, or one that is out of date or older than the one that is known.
    """
    actor.require(Role.SECURITY_OFFICER)
    with transaction.atomic():
        found = TrustKey.objects.select_for_update().get(pk=rows.trust_key(actor.domain, key.public_id).pk)
        read = _crl(found, crl)
        found.crl = read.public_bytes(serialization.Encoding.PEM).decode()
        found.save(update_fields=["crl"])
        revoked = {f"{one.serial_number:x}" for one in read}
        vouched = Bundle.objects.filter(domain=found.domain, facts__signer=found.name).order_by("id")
        flagged = [one for one in vouched if one.facts.get("signer_serial") in revoked]
        detail: dict[str, object] = {"number": len(revoked), "bundles": [one.digest for one in flagged]}
        ledger.record(actor=actor, action="trust-key.crl", thing=("trust-key", found.public_id), detail=detail)
    return flagged


def _crl(key: TrustKey, pem: str) -> x509.CertificateRevocationList:
    try:
        found = x509.load_pem_x509_crl(demand_one(pem[:_MAX_CRL], "X509 CRL", what="The CRL"))
        authority = x509.load_pem_x509_certificate(key.pem.encode())
        genuine = found.issuer == authority.subject and found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # a CA's key can sign
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = "This is no CRL in PEM (`-----BEGIN X509 CRL-----`), or the trust key is no signing CA."
        raise InvalidError(msg) from error
    if not genuine or found.next_update_utc is None or found.next_update_utc <= clock.now():
        msg = f"This CRL is not of {key.name}, or is out of date. Fetch its newest one."
        raise InvalidError(msg)
    if key.crl and x509.load_pem_x509_crl(key.crl.encode()).last_update_utc > found.last_update_utc:
        msg = "A newer CRL is registered already."
        raise InvalidError(msg)
    return found


def _read(format_: str, pem: str) -> tuple[str, str]:
    """Return the PEM in its usual form and the fingerprint of what it holds."""
    if len(pem) > _MAX_PEM or not pem.isascii():
        msg = "A trust key is a PEM file of at most 16 KiB."
        raise InvalidError(msg)
    if "PRIVATE KEY" in pem:
        msg = "This is a private key. It must never come here: give the public half."
        raise InvalidError(msg)
    if format_ not in TrustKey.Format.values:
        msg = f"Trust keys are for one of these formats: {', '.join(TrustKey.Format.values)}."
        raise InvalidError(msg)
    demand_one(pem, "CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", what="The trust key")
    if format_ in _BY_CA or (format_ in _BY_EITHER and "CERTIFICATE" in pem):
        return _signing_ca(pem)
    return _public_key(format_, pem)


def _public_key(format_: str, pem: str) -> tuple[str, str]:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "This is not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)."
        raise InvalidError(msg) from error
    p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    large = isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA
    if format_ in _BY_EITHER and not p256:
        msg = "A detached signature is made by a P-256 key (JWS with ES256), or below a signing CA (CMS)."
        raise InvalidError(msg)
    if not (p256 or large or (format_ == TrustKey.Format.MCUBOOT and isinstance(key, ed25519.Ed25519PublicKey))):
        msg = "Use an Ed25519, P-256 or RSA key of at least 2048 bits."
        raise InvalidError(msg)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    text = key.public_bytes(serialization.Encoding.PEM, spki).decode()
    fingerprint = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, spki)).hexdigest()
    accept_key(key)
    _demand_no_issuer(fingerprint)
    return text, fingerprint


def _demand_no_issuer(identity: str) -> None:
    """Refuse the key of whoever certifies devices: a CA of this server in any certificate, or a vendor's."""
    if identity in own_keys.own_identities() or identity in vendor_identities():
        msg = "This CA issues device certificates; it must not vouch for firmware. Make a signing CA."
        raise InvalidError(msg)


def _signing_ca(pem: str) -> tuple[str, str]:
    """Accept a CA that signs code only: with the common root as anchor, a device CA's leaf would pass."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        read_certificate(certificate.public_bytes(serialization.Encoding.DER))
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound) as error:
        msg = "This is not a CA certificate in PEM (`-----BEGIN CERTIFICATE-----`)."
        raise InvalidError(msg) from error
    if not basic.ca or basic.path_length != 0:
        msg = "Register the signing CA itself: a CA certificate with path length 0, not the root above it."
        raise InvalidError(msg)
    der = certificate.public_bytes(serialization.Encoding.DER)
    fingerprint = hashlib.sha256(der).hexdigest()
    _demand_no_issuer(own_keys.identity_of(certificate))
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), fingerprint
