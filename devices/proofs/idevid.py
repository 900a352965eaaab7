"""A vendor's device identity (IDevID, IEEE 802.1AR): a certificate from the factory, shown in the TLS handshake.

A vendor proves that a device is genuine, not that it is ours: who is not expected waits for a person.
"""

from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from devices.models import HardwareIdentity, VendorAnchor
from devices.proofs import preregistered
from devices.proofs.claim import Claim, Identity, checked_name, wished_name
from pki.kernel import clock
from pki.kernel.errors import UnauthenticatedError
from pki.services import own_keys
from pki.x509 import fingerprint, issued_by

REFUSAL = "The certificate shown is of no vendor that is trusted here, or is not valid now."


def claim(domain: str, der: bytes, csr: x509.CertificateSigningRequest) -> Claim:
    """Return the claim of a device with a vendor's certificate.

    Raises:
        UnauthenticatedError: no listed vendor has issued it, it is not in time, or it is for something else.
    """
    leaf = _read(der)
    anchor = _anchor(domain, leaf)
    serials = leaf.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    serial = str(serials[0].value)[:100] if serials else ""
    if anchor is None or not serial:
        raise UnauthenticatedError(REFUSAL)
    key = f"{anchor.fingerprint}:{serial}"
    identity = Identity("idevid", key, anchor.name, serial, {"fingerprint": fingerprint(leaf)})
    expected = preregistered.by_serial(domain, serial)
    if expected is not None:
        return replace(preregistered.of_row(expected, "idevid"), identity=identity)
    model = anchor.hardware_model
    if model is None:
        msg = "This vendor makes several kinds of devices; register the device's serial number first."
        raise UnauthenticatedError(msg)
    name = checked_name(wished_name(csr) or serial)
    why = f"nobody expects {anchor.name} {serial}"
    return Claim("idevid", f"idevid:{key}"[:64], name, model, "device", why_approval=why, identity=identity)


def _read(der: bytes) -> x509.Certificate:
    try:
        leaf = x509.load_der_x509_certificate(der)
        now = clock.now()
        basic = _extension(leaf, x509.BasicConstraints)
        usages = _extension(leaf, x509.ExtendedKeyUsage)
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise UnauthenticatedError(REFUSAL) from error
    is_ca = isinstance(basic, x509.BasicConstraints) and basic.ca
    other = isinstance(usages, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in usages
    if is_ca or other or not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UnauthenticatedError(REFUSAL)
    return leaf


def _anchor(domain: str, leaf: x509.Certificate) -> VendorAnchor | None:
    rows = VendorAnchor.objects.filter(
        domain__slug=domain, kind=HardwareIdentity.Kind.IDEVID, withdrawn_at__isnull=True
    )
    now = clock.now()
    for row in rows.select_related("hardware_model"):
        above = x509.load_der_x509_certificate(bytes(row.der))
        if own_keys.is_own(above):
            continue  # it was registered before it became, or was seen to be, a CA of this server
        if above.not_valid_before_utc <= now <= above.not_valid_after_utc and issued_by(leaf, above):
            return row
    return None


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
