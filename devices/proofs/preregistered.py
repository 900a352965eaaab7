"""A pre-registered serial number and key hash: the device proves itself by signing its request with that key."""

from cryptography import x509

from devices.errors import TokenError
from devices.models import Device, PreRegistration
from devices.proofs.claim import Claim, wished_name, wished_serial
from pki.kernel import clock

REFUSAL = (
    "No device with this key is pre-registered. Send an enrolment token, or ask the operator to pre-register the "
    "device."
)


def claim_by_key(domain: str, spki: str, csr: x509.CertificateSigningRequest) -> Claim | None:
    """Return the claim of a device whose key was registered, or None when no pre-registered device has that key.

    Raises:
        TokenError: the key is expected, but with another serial number or name.
    """
    rows = PreRegistration.objects.select_for_update(of=("self",)).select_related("hardware_model", "used_by")
    row = rows.filter(domain__slug=domain, spki_sha256=spki).first()
    if row is None:
        return None
    serial, name = wished_serial(csr), wished_name(csr)
    if (serial and serial != row.serial) or (name and name not in {row.device_name, row.serial}):
        raise TokenError(REFUSAL)
    return of_row(row, "preregistered")


def of_row(row: PreRegistration, kind: str) -> Claim:
    """Return the claim of a pre-registered device, for any kind of proof."""
    return Claim(
        kind,
        f"expected:{row.pk}",
        row.device_name,
        row.hardware_model,
        row.profile,
        use=lambda device, _spki: _use(row, device),
        done=(row.used_by, row.spki_sha256) if row.used_by else None,
    )


def by_serial(domain: str, serial: str) -> PreRegistration | None:
    """Return the pre-registered device of a serial number that a vendor certified."""
    rows = PreRegistration.objects.select_for_update(of=("self",)).select_related("hardware_model", "used_by")
    return rows.filter(domain__slug=domain, serial=serial).first() if serial else None


def _use(row: PreRegistration, device: Device) -> None:
    row.used_at, row.used_by = clock.now(), device
    row.save(update_fields=["used_at", "used_by"])
