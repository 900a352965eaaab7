"""Enrol a device: one token, one key, one certificate; and renew it later."""

import hashlib
import logging
from dataclasses import dataclass

from cryptography import x509 as crypto_x509
from cryptography.x509.oid import NameOID
from django.db import transaction

from devices.errors import TokenError
from devices.models import Device, EnrolmentToken, HardwareModel, Twin
from devices.services import tokens
from pki import x509
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.models import Certificate, TrustDomain
from pki.selectors import certificate_by_fingerprint, certificates_of
from pki.services import certificates, journal, ledger

_logger = logging.getLogger(__name__)
_REFUSAL = "The enrolment token is not valid for this request. Ask the operator for a new one."


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment yields."""

    device: Device
    certificate: Certificate


def enrol(*, domain: str, secret: str, csr: bytes, via: str, request_id: str = "") -> Enrolled:
    """Enrol the holder of a one-time token under the key of its certificate request.

    The same token with the same key again returns the same certificate: an answer may get lost.

    Args:
        domain: slug, as the door resolved it.
        secret: the token.
        csr: PKCS#10 in DER; the common name is the wished device name when the token leaves it open.
        via: the dialect, for the ledger.
        request_id: ties the log together.

    Raises:
        TokenError: unknown, used, expired, withdrawn, or for another name; one sentence for all.
        CsrError: the request is malformed or not signed by its own key.
    """
    parsed = x509.parse_csr(csr)
    spki = x509.spki_sha256(x509.csr_key(parsed))
    with transaction.atomic():
        token = _token(domain, secret)
        if token.used_at:
            return _again(token, spki)
        name = _name(token, parsed)
        device = _device(token, name)
        actor = actors.device(domain, device.key, via=via, request_id=request_id)
        certificate = certificates.issue_device(actor=actor, csr=csr, device_key=device.key, device_name=device.name)
        _use(token, device, spki)
        _remember(token, device, certificate)
        ledger.record(actor=actor, action="device.enrolled", thing=("device", device.key), detail={"name": device.name})
    return Enrolled(device, certificate)


def reenrol(*, actor: Actor, device: Device, csr: bytes, current: Certificate) -> Certificate:
    """Renew or re-key: a new certificate for the same device, in the lineage of the one shown.

    Raises:
        CsrError: malformed, or not signed by its own key.
    """
    actor.require_device(device.key)
    x509.parse_csr(csr)
    if device.state != Device.State.ACTIVE:
        msg = "Only an active device renews its certificate."
        raise ConflictError(msg)
    certificate = certificates.issue_device(
        actor=actor, csr=csr, device_key=device.key, device_name=device.name, renewed_from=current
    )
    journal.append("issued", domain=actor.domain, device=device.key, der=bytes(certificate.der).hex())
    return certificate


def _token(domain: str, secret: str) -> EnrolmentToken:
    rows = EnrolmentToken.objects.select_for_update(of=("self",)).select_related("hardware_model", "used_by", "domain")
    # The look-up is by the hash of 256 random bits, so its timing tells nothing about the secret.
    token = rows.filter(secret_hash=tokens.secret_hash(secret[:200]), domain__slug=domain).first()
    cause = "unknown" if token is None else token.state
    if token is None or cause in {"withdrawn", "expired"}:
        _logger.warning("an enrolment was refused", extra={"cause": cause, "trust_domain": domain})
        raise TokenError(_REFUSAL)
    return token


def _again(token: EnrolmentToken, spki: str) -> Enrolled:
    if token.used_by is None or token.used_spki != spki:
        _logger.warning("an enrolment was refused", extra={"cause": "used", "token": str(token.public_id)})
        raise TokenError(_REFUSAL)
    for certificate in certificates_of(token.domain.slug, token.used_by.key):
        if certificate.spki_sha256 == spki and certificate.revoked_at is None:
            return Enrolled(token.used_by, certificate)
    raise TokenError(_REFUSAL)


def _name(token: EnrolmentToken, csr: crypto_x509.CertificateSigningRequest) -> str:
    wished = [str(one.value) for one in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if token.device_name and wished and wished[0] != token.device_name:
        _logger.warning("an enrolment was refused", extra={"cause": "name", "token": str(token.public_id)})
        raise TokenError(_REFUSAL)
    name = token.device_name or (wished[0] if wished else "")
    if not name:
        msg = "Put the device's name into the request's common name; the token leaves it open."
        raise InvalidError(msg)
    tokens.check_name(name)
    return name


def _device(token: EnrolmentToken, name: str) -> Device:
    """Return the device to enrol: registered before, or new; never one that lives already."""
    device, _ = Device.objects.get_or_create(
        domain=token.domain, name=name, defaults={"hardware_model": token.hardware_model}
    )
    if device.state != Device.State.PENDING or device.hardware_model_id != token.hardware_model_id:
        _logger.warning("an enrolment was refused", extra={"cause": "name taken", "device": device.key})
        raise TokenError(_REFUSAL)
    device.state = Device.State.ACTIVE
    device.enrolled_at = clock.now()
    device.save(update_fields=["state", "enrolled_at"])
    Twin.objects.get_or_create(device=device)
    return device


def _use(token: EnrolmentToken, device: Device, spki: str) -> None:
    token.used_at = clock.now()
    token.used_by = device
    token.used_spki = spki
    token.save(update_fields=["used_at", "used_by", "used_spki"])


def _remember(token: EnrolmentToken, device: Device, certificate: Certificate) -> None:
    """Write the facts outside the database; if the commit fails the token is lost, never revived."""
    journal.append(
        "enrolled",
        domain=token.domain.slug,
        token=token.secret_hash,
        device=device.key,
        name=device.name,
        hardware=str(device.hardware_model.class_id),
        der=bytes(certificate.der).hex(),
    )


def apply_enrolled(fact: dict[str, str]) -> bool:
    """Apply an enrolment from the journal to a restored database: token used, device and certificate back."""
    domain = TrustDomain.objects.get(slug=fact["domain"])
    with transaction.atomic():
        device = Device.objects.filter(domain=domain, public_id=fact["device"]).first()
        token = EnrolmentToken.objects.filter(secret_hash=fact["token"], used_at__isnull=True).first()
        known = _known(fact["der"])
        if device and not token and known:
            return False
        device = device or _bring_back(domain, fact)
        certificate = known or certificates.keep(domain=domain, der=bytes.fromhex(fact["der"]))
        if token:
            _use(token, device, certificate.spki_sha256)
    return True


def apply_issued(fact: dict[str, str]) -> bool:
    """Bring back a renewed certificate that a restored database does not know."""
    if _known(fact["der"]):
        return False
    certificates.keep(domain=TrustDomain.objects.get(slug=fact["domain"]), der=bytes.fromhex(fact["der"]))
    return True


def _known(der: str) -> Certificate | None:
    return certificate_by_fingerprint(hashlib.sha256(bytes.fromhex(der)).hexdigest())


def _bring_back(domain: TrustDomain, fact: dict[str, str]) -> Device:
    hardware = HardwareModel.objects.get(domain=domain, class_id=fact["hardware"])
    device, _ = Device.objects.update_or_create(
        domain=domain,
        name=fact["name"],
        defaults={
            "public_id": fact["device"],
            "hardware_model": hardware,
            "state": Device.State.ACTIVE,
            "enrolled_at": clock.now(),
        },
    )
    Twin.objects.get_or_create(device=device)
    return device
