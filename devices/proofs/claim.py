"""What a proof yields, and what a device may show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

from devices.models import Device, HardwareModel
from devices.names import check_name
from pki.kernel.errors import InvalidError


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device shows besides its certificate request.

    Args:
        secret: one-time token, or empty.
        certificate: client certificate of the connection in DER, or empty.
        tpm: a TPM's answer to a challenge, already checked, or None.
        profile: that it asks for by a label; it must be the one that its proof permits.
    """

    secret: str = ""
    certificate: bytes = b""
    tpm: "TpmIdentity | None" = None
    profile: str = ""


@dataclass(frozen=True, slots=True)
class TpmIdentity:
    """A TPM that has opened its challenge: endorsement key, vendor, and what was attested."""

    ek_hash: str
    vendor: str
    serial: str
    facts: Mapping[str, object]
    hardware_model: HardwareModel | None


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity in hardware, to be bound to the device."""

    kind: str
    key: str
    vendor: str
    serial: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """The proved identity of a device that enrols.

    Args:
        kind: the way of proof.
        caller: stable name of who asks, under which a waiting request is found again.
        name: of the device.
        hardware_model: what it is.
        profile: of its certificate.
        replaces: it is a replacement board for an existing device.
        why_approval: why a person has to look at it first; empty if none has to.
        identity: to be bound to the device.
        use: marks the proof as used by a device and a key (SPKI hash).
        done: the device that this proof has enrolled before, with the key that it had then.
        journal: facts that a restored database needs to know that the proof is used.
    """

    kind: str
    caller: str
    name: str
    hardware_model: HardwareModel
    profile: str
    replaces: bool = False
    why_approval: str = ""
    identity: Identity | None = None
    use: Callable[[Device, str], None] = lambda _device, _spki: None
    done: tuple[Device, str] | None = None
    journal: dict[str, str] = field(default_factory=dict)


def wished_name(csr: x509.CertificateSigningRequest) -> str:
    """Return the common name of a request: the device name that it wishes, or an empty word."""
    names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def wished_serial(csr: x509.CertificateSigningRequest) -> str:
    """Return the serialNumber attribute of a request's subject, or an empty word."""
    names = csr.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    return str(names[0].value)[:100] if names else ""


def checked_name(name: str) -> str:
    """Return a device name that is valid in URLs and certificates.

    Raises:
        InvalidError: there is none, or it holds what no name may.
    """
    if not name:
        msg = "Put the device's name into the request's common name; the token does not set one."
        raise InvalidError(msg)
    check_name(name)
    return name
