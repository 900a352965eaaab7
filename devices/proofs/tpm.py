"""A TPM 2.0 that has opened its challenge (``devices.services.attestation``), with a key that it certified."""

from dataclasses import replace

from cryptography import x509

from devices.proofs import preregistered
from devices.proofs.claim import Claim, Identity, TpmIdentity, checked_name, wished_name
from pki.kernel.errors import UnauthenticatedError


def claim_by_tpm(domain: str, shown: TpmIdentity, csr: x509.CertificateSigningRequest) -> Claim:
    """Return the claim of a device with a proved TPM.

    Raises:
        UnauthenticatedError: it is not pre-registered, and the vendor's anchor names no hardware model.
    """
    identity = Identity("tpm", shown.ek_hash, shown.vendor, shown.serial, shown.facts)
    expected = preregistered.by_serial(domain, shown.ek_hash) or preregistered.by_serial(domain, shown.serial)
    if expected is not None:
        return replace(preregistered.of_row(expected, "tpm"), identity=identity)
    if shown.hardware_model is None:
        msg = "This TPM is genuine but not pre-registered. Pre-register the hash of its endorsement key first."
        raise UnauthenticatedError(msg)
    name, why = checked_name(wished_name(csr)), f"not pre-registered: TPM {shown.ek_hash[:16]}"
    caller = f"tpm:{shown.ek_hash}"[:64]
    return Claim("tpm", caller, name, shown.hardware_model, "device", why_approval=why, identity=identity)
