"""Pre-register devices by serial number and key, and vendors by their CA certificate."""

import re

from cryptography import x509
from django.db import transaction

from devices.models import HardwareIdentity, HardwareModel, PreRegistration, VendorAnchor
from devices.names import check_name
from pki.foreign import Foreign, read_certificate
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from pki.kernel.pem import read_der
from pki.kernel.permissions import Action, permitted_rows, require_action
from pki.profiles import DEVICE
from pki.selectors import get_domain as domain_of
from pki.services import ledger, own_keys, profiles

_HASH = re.compile(r"[0-9a-f]{64}")
_SERIAL = re.compile(r"[\x21-\x7e]{1,100}")


def preregister_device(
    *,
    actor: Actor,
    serial: str,
    hardware_model: HardwareModel,
    device_name: str,
    spki_sha256: str = "",
    profile: str = DEVICE.name,
) -> PreRegistration:
    """Pre-register a device.

    Args:
        actor: an operator or a security officer.
        serial: its serial number, or the hash of its TPM's endorsement key.
        hardware_model: what it is.
        device_name: what it will be called.
        spki_sha256: hex SHA-256 of its key's SubjectPublicKeyInfo; empty when a vendor certifies the serial number.
        profile: of its certificate.

    Raises:
        ConflictError: it is expected already.
    """
    require_action(actor, Action.PREREGISTER_DEVICE)
    key = spki_sha256.lower()
    _check(serial, key, device_name)
    profiles.profile_of(actor.domain, profile)
    with transaction.atomic():
        _only_once(actor.domain, serial, key)
        row = PreRegistration.objects.create(
            domain=domain_of(actor.domain),
            serial=serial,
            spki_sha256=key,
            hardware_model=hardware_model,
            device_name=device_name,
            profile=profile,
            created_by=f"{actor.kind}:{actor.key}",
        )
        thing, detail = ("expected", row.public_id), {"hardware": hardware_model.name, "key": key}
        ledger.record(actor=actor, action="device.expected", thing=thing, detail=detail)
    return row


def trust_vendor(
    *, actor: Actor, name: str, kind: str, pem: bytes, hardware_model: HardwareModel | None = None
) -> VendorAnchor:
    """Trust a vendor's CA for first enrolments.

    Args:
        actor: a security officer.
        name: of the vendor.
        kind: ``idevid`` or ``tpm``.
        pem: the CA certificate that issues the identities: a root, or the intermediate below it.
        hardware_model: what all its devices are; without one each device has to be expected by its serial number.

    Raises:
        InvalidError: no CA certificate, or of a key that one of this server's CAs holds.
        ConflictError: it is trusted already.
    """
    require_action(actor, Action.TRUST_VENDOR)
    given = _vendor_ca(name, kind, pem)
    own_keys.demand_strangers_key(own_keys.identity_of(given.certificate), "a vendor's CA")
    digest = given.fingerprint
    with transaction.atomic():
        domain = domain_of(actor.domain)
        rows = VendorAnchor.objects.filter(domain=domain, kind=kind, fingerprint=digest)
        if rows.filter(withdrawn_at__isnull=True).exists():
            msg = "This vendor's certificate is already trusted."
            raise ConflictError(msg)
        row, _ = VendorAnchor.objects.update_or_create(
            domain=domain,
            kind=kind,
            fingerprint=digest,
            defaults={"name": name, "hardware_model": hardware_model, "der": given.der, "withdrawn_at": None},
        )
        detail = {"name": name, "kind": kind, "fingerprint": digest}
        ledger.record(actor=actor, action="vendor.trusted", thing=("vendor", row.public_id), detail=detail)
    return row


def distrust_vendor(*, actor: Actor, public_id: str) -> VendorAnchor:
    """Stop trusting a vendor's certificate: no device can enrol with it; enrolled devices stay."""
    vendors = permitted_rows(actor, Action.DISTRUST_VENDOR, VendorAnchor.objects.all())
    with transaction.atomic():
        row = vendors.filter(public_id=public_id).first()
        if row is None:
            msg = "There is no such vendor."
            raise NotFoundError(msg)
        if row.withdrawn_at is None:
            row.withdrawn_at = clock.now()
            row.save(update_fields=["withdrawn_at"])
            ledger.record(actor=actor, action="vendor.distrusted", thing=("vendor", row.public_id))
    return row


def _only_once(slug: str, serial: str, key: str) -> None:
    rows = PreRegistration.objects.filter(domain__slug=slug)
    if rows.filter(serial=serial).exists() or (key and rows.filter(spki_sha256=key).exists()):
        msg = f"A device with the serial number {serial} or this key is already pre-registered."
        raise ConflictError(msg)


def _check(serial: str, key: str, device_name: str) -> None:
    check_name(device_name)
    if not _SERIAL.fullmatch(serial) or (key and not _HASH.fullmatch(key)):
        msg = "A serial number must have 1 to 100 printable characters without spaces, and a key hash 64 hex digits."
        raise InvalidError(msg)


def _vendor_ca(name: str, kind: str, pem: bytes) -> Foreign:
    if kind not in HardwareIdentity.Kind.values or not 0 < len(name) <= 100:  # noqa: PLR2004  because the column has 100
        msg = "A vendor needs a name of at most 100 characters and the kind idevid or tpm."
        raise InvalidError(msg)
    given = read_certificate(read_der(pem, "CERTIFICATE"))
    if not _is_ca(given.certificate):
        msg = "This is not a CA certificate. Give the certificate of the CA that issues the vendor's device identities."
        raise InvalidError(msg)
    return given


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
