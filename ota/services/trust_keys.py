"""Register and withdraw the public keys and CA certificates that verify artefacts."""

import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.db import transaction

from devices.selectors import vendor_identities
from ota.formats.judgement import Judgement, TrustAnchor, report_line
from ota.models import Bundle, TrustKey
from pki import selectors as ground
from pki.foreign import read_certificate
from pki.kernel import clock
from pki.kernel import revocation as revocations
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.pem import demand_one_block
from pki.kernel.permissions import Action, require_action, require_on
from pki.kernel.public_keys import accept_key, key_identity, read_pem
from pki.kernel.revocation import RevocationList
from pki.services import ledger, own_keys
from pki.x509 import issued_by as is_issued_by

_MAX_PEM = 16 * 1024
_BY_CA = {TrustKey.Format.SWU, TrustKey.Format.RAUC}
_BY_EITHER = {TrustKey.Format.TFLITE, TrustKey.Format.ONNX, TrustKey.Format.OMS, TrustKey.Format.GENERIC}
_LEAST_RSA = 2048


def add(  # noqa: PLR0913  because each is a fact of the key
    *,
    actor: Actor,
    name: str,
    format: str,  # noqa: A002  because it is the word of bundle.json
    component: str = "",
    product: str = "",
    pem: str,
    revocation: str = "",
) -> TrustKey:
    """Register a key that verifies artefacts of a format, for one component or (empty) any.

    Adding the same key under the same name again changes nothing.

    Args:
        actor: a security officer.
        name: unique in the domain.
        format: ``mcuboot``, ``esp`` and ``mender`` take a public key, ``swu`` and ``rauc`` a signing CA's certificate,
            ``tflite``, ``onnx``, ``oms`` and ``generic`` either.
        component: slot on the device.
        product: id of the only bundles that it verifies; empty for any.
        pem: the public half; a private key is refused.
        revocation: for a signing CA, ``crl`` (signers are accepted by a current CRL only) or ``none`` (revoked signers
            are not noticed); empty leaves it unstated, which is accepted and shown as a warning.

    Raises:
        InvalidError: it is no usable public key or certificate.
        ConflictError: the name is taken by another key.
    """
    require_action(actor, Action.MANAGE_TRUST_KEYS)
    pem, fingerprint = _read(format, pem)
    fields = {"format": format, "component": component, "product": product, "fingerprint": fingerprint}
    if revocation:
        _check_choice(pem, revocation)
        fields["revocation"] = revocation
    return _keep(actor, name, pem, fields)


def _keep(actor: Actor, name: str, pem: str, fields: dict[str, str]) -> TrustKey:
    """Store a key under its name, unless the same key is stored already."""
    domain = ground.get_domain(actor.domain)
    with transaction.atomic():
        key, created = TrustKey.objects.get_or_create(domain=domain, name=name[:100], defaults={**fields, "pem": pem})
        other = key.withdrawn_at is not None or any(getattr(key, field) != value for field, value in fields.items())
        if not created and other:
            msg = f"The name {name!r} belongs to another trust key. Choose another name."
            raise ConflictError(msg)
        if created:
            detail = {"name": name, **fields}
            ledger.record(actor=actor, action="trust-key.added", thing=("trust-key", key.public_id), detail=detail)
    return key


def withdraw(*, actor: Actor, key: TrustKey) -> TrustKey:
    """Withdraw a key: it does not verify uploads any more."""
    with transaction.atomic():
        locked = _locked(actor, key)
        if locked.withdrawn_at is None:
            locked.withdrawn_at = clock.now()
            locked.save(update_fields=["withdrawn_at"])
            ledger.record(actor=actor, action="trust-key.withdrawn", thing=("trust-key", locked.public_id))
    return locked


def _locked(actor: Actor, key: TrustKey) -> TrustKey:
    rows = TrustKey.objects.select_for_update(of=("self",))
    return require_on(actor, Action.MANAGE_TRUST_KEYS, rows, key)


def without_device_cas(keys: list[TrustKey]) -> list[TrustKey]:
    """Return the keys without those of CAs that certify devices, whichever was registered first."""
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


def anchor_of(key: TrustKey) -> TrustAnchor:
    """Return a trust key as a value for verifiers."""
    return TrustAnchor(key.name, key.pem, key.crl, key.revocation, key.issuer_pem, key.issuer_crl)


def with_revocation(keys: list[TrustKey], judgement: Judgement) -> Judgement:
    """Add how a revoked signer would be detected, when a signing CA verified the artefact."""
    signer = next((key for key in keys if key.name == judgement.facts.get("signer")), None)
    if signer is None or signer.revocation_state == "n/a":
        return judgement
    words = {
        "crl": f"the CRL of {signer.name} was consulted",
        "none": f"NOT CHECKED: {signer.name} is trusted without revocation lists, as registered",
    }.get(signer.revocation_state, f"NOT CHECKED: no CRL of {signer.name} is registered, and no revocation mode is set")
    return Judgement(judgement.facts, [*judgement.statements, report_line("revocation", "muster", words)])


def choose_revocation(*, actor: Actor, key: TrustKey, revocation: str) -> TrustKey:
    """State what happens to signers of a signing CA without a CRL: ``crl`` refuses them, ``none`` accepts them.

    Raises:
        InvalidError: another word, or the key is no signing CA, or a CRL is registered and must go on to count.
    """
    with transaction.atomic():
        locked = _locked(actor, key)
        _check_choice(locked.pem, revocation)
        if revocation == TrustKey.Revocation.NONE and locked.crl:
            msg = (
                f"A CRL of {locked.name} is registered and in use. Withdraw this trust key and add it again without "
                "one."
            )
            raise InvalidError(msg)
        locked.revocation = revocation
        locked.save(update_fields=["revocation"])
        thing, detail = ("trust-key", locked.public_id), {"revocation": revocation}
        ledger.record(actor=actor, action="trust-key.revocation", thing=thing, detail=detail)
    return locked


def renew_crl(*, actor: Actor, key: TrustKey, crl: str, issuer: str = "") -> list[Bundle]:
    """Register the newest CRL of a signing CA, or of the CA above it; later uploads are compared with it.

    A list takes the place of the one for the same distribution points; a partial one never replaces a complete one.

    Args:
        actor: a security officer.
        key: the signing CA.
        crl: one or several CRLs in PEM.
        issuer: certificate in PEM of the CA above, when the CRLs are that one's.

    Returns:
        bundles that a revoked signer (or any signer of a revoked CA) signed: check them, and withdraw their
        releases.

    Raises:
        InvalidError: no complete CRL of this CA, or one that is out of date or older than the one that is known.
    """
    with transaction.atomic():
        locked = _locked(actor, key)
        above = _load_ca(issuer) if issuer else None
        lists = _own_lists(locked, crl) if above is None else _issuer_lists(locked, above, crl)
        flagged = _flagged(locked, lists, all_of_them=above is not None)
        detail: dict[str, object] = {
            "number": sum(len(revocation_list.serials) for revocation_list in lists),
            "crl_numbers": [revocation_list.number for revocation_list in lists],
            "of": "issuer" if above is not None else "signing-ca",
            "bundles": [bundle.digest for bundle in flagged],
        }
        ledger.record(actor=actor, action="trust-key.crl", thing=("trust-key", locked.public_id), detail=detail)
    return flagged


def _own_lists(key: TrustKey, crl: str) -> list[RevocationList]:
    if "CERTIFICATE" not in key.pem:
        msg = f"{key.name} is a public key. Only a signing CA has CRLs."
        raise InvalidError(msg)
    lists = _succeeding(crl, key.crl, _load_ca(key.pem))
    key.crl, key.revocation = "".join(revocation_list.pem for revocation_list in lists), TrustKey.Revocation.CRL
    key.save(update_fields=["crl", "revocation"])
    return lists


def _issuer_lists(key: TrustKey, above: x509.Certificate, crl: str) -> list[RevocationList]:
    if "CERTIFICATE" not in key.pem or not is_issued_by(_load_ca(key.pem), above):
        msg = f"The given issuer did not issue the certificate of {key.name}."
        raise InvalidError(msg)
    same = key.issuer_pem and own_keys.identity_of(_load_ca(key.issuer_pem)) == own_keys.identity_of(above)
    lists = _succeeding(crl, key.issuer_crl if same else "", above, of_authorities=True)
    key.issuer_pem = above.public_bytes(serialization.Encoding.PEM).decode()
    key.issuer_crl = "".join(revocation_list.pem for revocation_list in lists)
    key.save(update_fields=["issuer_pem", "issuer_crl"])
    return lists


def _succeeding(
    crl: str, before: str, issuer: x509.Certificate, *, of_authorities: bool = False
) -> list[RevocationList]:
    """Return the CRLs that apply after new ones; drop stored CRLs that would not be accepted now."""
    new = revocations.read_lists(crl, issuer, of_authorities=of_authorities)
    revocations.demand_current(new, clock.now())
    try:
        known = revocations.read_lists(before, issuer, of_authorities=of_authorities) if before else []
    except InvalidError:
        known = []
    return revocations.succeed_lists(known, new)


def _flagged(key: TrustKey, lists: list[RevocationList], *, all_of_them: bool) -> list[Bundle]:
    """Return the bundles of revoked signers; of all signers if the signing CA itself is revoked."""
    revoked = {serial for crl in lists for serial in crl.serials}
    vouched = list(Bundle.objects.filter(domain=key.domain, facts__signer=key.name).order_by("id"))
    if all_of_them:
        return vouched if _load_ca(key.pem).serial_number in revoked else []
    serials = {f"{number:x}" for number in revoked}
    return [bundle for bundle in vouched if bundle.facts.get("signer_serial") in serials]


def _load_ca(pem: str) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(demand_one_block(pem, "CERTIFICATE"))
    except ValueError as error:
        msg = "This is not a CA certificate in PEM (`-----BEGIN CERTIFICATE-----`)."
        raise InvalidError(msg) from error
    read_certificate(certificate.public_bytes(serialization.Encoding.DER))
    return certificate


def _check_choice(pem: str, revocation_: str) -> None:
    if revocation_ not in TrustKey.Revocation.values or "CERTIFICATE" not in pem:
        msg = "revocation must be crl or none, and only a signing CA has it; a bare key cannot be revoked by a CRL."
        raise InvalidError(msg)


def _read(format_: str, pem: str) -> tuple[str, str]:
    """Return the PEM in its usual form and the fingerprint of what it holds."""
    if len(pem) > _MAX_PEM or not pem.isascii():
        msg = "A trust key must be a PEM file of at most 16 KiB."
        raise InvalidError(msg)
    if "PRIVATE KEY" in pem:
        msg = "This is a private key. Never upload it; give the public key."
        raise InvalidError(msg)
    if format_ not in TrustKey.Format.values:
        msg = f"Trust keys are for one of these formats: {', '.join(TrustKey.Format.values)}."
        raise InvalidError(msg)
    demand_one_block(pem, "CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", what="The trust key")
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
    """Refuse a key that certifies devices: of a CA of this server in any certificate, or of a vendor."""
    if identity in own_keys.own_identities() or identity in vendor_identities():
        msg = "This CA issues device certificates, so it must not verify firmware. Create a separate signing CA."
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
