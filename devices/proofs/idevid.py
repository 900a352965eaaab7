"""A vendor's device identity (IDevID, IEEE 802.1AR): a certificate from the factory, shown in the TLS handshake.

A vendor proves that a device is genuine, not that it is ours: who is not expected waits for a person.
"""

from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devices.models import HardwareIdentity, VendorAnchor
from devices.proofs import preregistered
from devices.proofs.claim import Claim, Identity, checked_name, wished_name
from pki.foreign import Foreign, read_certificate
from pki.kernel import clock
from pki.kernel.errors import InvalidError, UnauthenticatedError
from pki.services import own_keys

REFUSAL = "The presented certificate was not issued by a trusted vendor CA, or it is not valid now."


def claim_by_idevid(domain: str, der: bytes, csr: x509.CertificateSigningRequest) -> Claim:
    """Return the claim of a device with a vendor's certificate.

    Raises:
        UnauthenticatedError: no listed vendor has issued it, it is not in time, or it is for something else.
    """
    shown = _read(der)
    anchor = _anchor(domain, shown)
    serials = shown.certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    serial = str(serials[0].value)[:100] if serials else ""
    if anchor is None or not serial:
        raise UnauthenticatedError(REFUSAL)
    key = f"{anchor.fingerprint}:{serial}"
    identity = Identity("idevid", key, anchor.name, serial, {"fingerprint": shown.fingerprint})
    expected = preregistered.by_serial(domain, serial)
    if expected is not None:
        return replace(preregistered.of_row(expected, "idevid"), identity=identity)
    model = anchor.hardware_model
    if model is None:
        msg = "This vendor makes several hardware models. Pre-register the device's serial number first."
        raise UnauthenticatedError(msg)
    name = checked_name(wished_name(csr) or serial)
    why = f"not pre-registered: {anchor.name} {serial}"
    return Claim("idevid", f"idevid:{key}"[:64], name, model, "device", why_approval=why, identity=identity)


def _read(der: bytes) -> Foreign:
    try:
        shown = read_certificate(der, "The presented certificate")
    except InvalidError as error:
        raise UnauthenticatedError(error.detail) from error
    leaf, now = shown.certificate, clock.now()
    basic = _extension(leaf, x509.BasicConstraints)
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    is_ca = isinstance(basic, x509.BasicConstraints) and basic.ca
    other = isinstance(usages, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in usages
    if is_ca or other or not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UnauthenticatedError(REFUSAL)
    return shown


def _anchor(domain: str, shown: Foreign) -> VendorAnchor | None:
    rows = VendorAnchor.objects.filter(
        domain__slug=domain, kind=HardwareIdentity.Kind.IDEVID, withdrawn_at__isnull=True
    )
    now = clock.now()
    for row in rows.select_related("hardware_model"):
        above = read_certificate(bytes(row.der)).certificate
        if own_keys.is_own(above):
            continue  # it was registered before it became, or was seen to be, a CA of this server
        if above.not_valid_before_utc <= now <= above.not_valid_after_utc and shown.is_issued_by(above):
            return row
    return None


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
