"""Enrol a device: one proof, one key, one certificate; and renew it later."""

import hashlib
import logging
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateSigningRequest as Csr
from django.db import IntegrityError, transaction

from devices.contact_words import NEVER_WORD
from devices.errors import TokenError
from devices.models import Device, HardwareIdentity, Twin
from devices.proofs import idevid, preregistered, token, tpm
from devices.proofs.claim import Claim, Shown, wished_name
from devices.services import approvals, fleet_counts
from pki import x509
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, PendingError, UnauthenticatedError
from pki.models import Certificate, TrustDomain, prepared_sql
from pki.profiles import CertificateRules
from pki.selectors import certificates_of
from pki.services import certificates, ledger, profiles
from pki.services.certificates import Occasion

_logger = logging.getLogger(__name__)
_FREE = frozenset({Device.State.PENDING, Device.State.RETURNED})


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Result of an enrolment; ``key`` (PKCS#8, DER) is set only if the signer generated it."""

    device: Device
    certificate: Certificate
    key: bytes = b""


def enrol(*, domain: TrustDomain, csr: Csr, via: str, shown: Shown, request_id: str = "") -> Enrolled:
    """Enrol a device whose proof is accepted, with the key of the certificate request.

    The same proof with the same key again returns the same certificate: an answer may get lost.

    Args:
        domain: as the listener resolved it.
        csr: as ``pki.x509.read_csr`` accepts it; the common name is the wished device name when the proof leaves
            it open. Its proof of possession is checked by the signer, or here where no certificate is made.
        via: the protocol adapter, for the audit log.
        shown: what the device shows besides the request.
        request_id: ties the log together.

    Raises:
        UnauthenticatedError: nothing that was shown proves anything here (TokenError for a token).
        PendingError: a person has to approve it; ask again the same way.
        DeniedError: a person refused it, or the profile demands another proof.
        CsrError: the key is of a type that the profile does not take.
    """
    key = x509.csr_key(csr)
    spki = x509.spki_sha256(key)
    _refuse_unknown(domain, shown)
    with transaction.atomic():
        claim = _claim(domain, shown, csr, spki)
        if claim.done:
            x509.check_possession(csr)
            return _again(claim, domain.slug, spki)
        profile = _profile(domain.slug, claim, shown.profile)
        x509.check_key_type(key, profile.key_types)
        if why := claim.why_approval or ("the certificate profile requires approval" if profile.approval else ""):
            x509.check_possession(csr)
        waiting = approvals.ask_approval(domain=domain.slug, claim=claim, spki=spki, why=why) if why else None
        if waiting is None:
            anybody = actors.device_actor(domain.slug, "", via=via, request_id=request_id)
            return _enrol(domain, claim, csr.public_bytes(Encoding.DER), profile, anybody)
    # Outside the transaction, so that the request is kept.
    raise PendingError(approvals.WAIT, retry_after=waiting)


def enrol_with_keygen(*, domain: TrustDomain, csr: Csr, via: str, shown: Shown, request_id: str = "") -> Enrolled:
    """Enrol a device whose key the signer makes and returns once; the server does not keep it.

    The request gives the name only; it must still be signed by the key inside, so that it cannot be replayed.

    Raises:
        DeniedError: the profile does not permit it, or a person would have to approve it first.
        TokenError: the proof was used; an answer that got lost cannot be repeated, because the key is gone.
    """
    _refuse_unknown(domain, shown)
    with transaction.atomic():
        claim = _claim(domain, shown, csr, "")
        if claim.done:
            raise TokenError(token.REFUSAL)
        profile = _profile(domain.slug, claim, shown.profile)
        if not profile.server_keygen or profile.approval or claim.why_approval:
            msg = (
                f"The profile {profile.name} does not allow server-side key generation. Generate the key on the device."
            )
            raise DeniedError(msg)
        anybody = actors.device_actor(domain.slug, "", via=via, request_id=request_id)
        return _enrol(domain, claim, b"", profile, anybody)


def renew_identity(*, actor: Actor, device: Device, csr: bytes, current: Certificate) -> Certificate:
    """Renew or re-key: a new certificate for the same device, in the lineage of the one shown.

    The same certificate with the same key again returns the same answer.

    Raises:
        CsrError: malformed, or not signed by its own key.
        InvalidError: the request names another device.
    """
    actor.require_device(device.key)
    profile = profiles.profile_of(actor.domain, current.profile_name)
    parsed = x509.parse_csr(csr, profile.key_types)
    if (wished := wished_name(parsed)) and wished != device.name:
        msg = f"The request names {wished[:64]!r}, but the presented certificate belongs to {device.name!r}."
        raise InvalidError(msg)
    if device.state != Device.State.ACTIVE:
        msg = "Only an active device can renew its certificate."
        raise ConflictError(msg)
    with transaction.atomic():
        # The row is locked, so that a request sent twice at once gets one certificate.
        Device.objects.select_for_update().get(pk=device.pk)
        if (done := _successor(current, x509.spki_sha256(x509.csr_key(parsed)))) is not None:
            return done
        return certificates.issue_device(
            actor=actor,
            csr=csr,
            device_key=device.key,
            device_name=device.name,
            profile=profile,
            occasion=Occasion(current, journal={"kind": "issued", "parent": current.fingerprint}),
        ).certificate


def _successor(current: Certificate, spki: str) -> Certificate | None:
    rows = Certificate.objects.filter(renewed_from=current, spki_sha256=spki, revoked_at__isnull=True)
    return rows.filter(not_after__gt=clock.now()).order_by("-id").first()


def _refuse_unknown(domain: TrustDomain, shown: Shown) -> None:
    """Refuse an unknown token before the transaction, which would take SQLite's only write lock."""
    if shown.tpm is None and shown.secret:
        token.refuse_unknown_token(domain, shown.secret)


def _claim(domain: TrustDomain, shown: Shown, csr: Csr, spki: str) -> Claim:
    """Return the identity that the strongest of the device's proofs shows."""
    if shown.tpm is not None:
        return tpm.claim_by_tpm(domain.slug, shown.tpm, csr)
    if shown.secret:
        return token.claim_by_token(domain, shown.secret, csr)
    if (expected := preregistered.claim_by_key(domain.slug, spki, csr)) is not None:
        return expected
    if shown.certificate:
        return idevid.claim_by_idevid(domain.slug, shown.certificate, csr)
    raise UnauthenticatedError(preregistered.REFUSAL)


def _profile(domain: str, claim: Claim, asked: str) -> CertificateRules:
    if asked and asked != claim.profile:
        msg = f"The proof permits the profile {claim.profile}, not {asked[:40]}."
        raise DeniedError(msg)
    rules = profiles.profile_of(domain, claim.profile)
    if rules.proofs and claim.kind not in rules.proofs:
        msg = f"The profile {rules.name} requires one of these proofs: {', '.join(sorted(rules.proofs))}."
        raise DeniedError(msg)
    return rules


def _enrol(domain: TrustDomain, claim: Claim, csr: bytes, profile: CertificateRules, anybody: Actor) -> Enrolled:
    device = _device(domain, claim)
    actor = actors.device_actor(domain.slug, device.key, via=anybody.via, request_id=anybody.request_id)
    if claim.replaces:
        _retire_board(device)
    facts = {"proof": claim.kind, "name": personal_commitment(device, device.name)}
    issued = certificates.issue_device(
        actor=actor,
        csr=csr,
        device_key=device.key,
        device_name=device.name,
        profile=profile,
        occasion=Occasion(ledger={"enrolled": facts}, journal=_facts(claim, device)),
    )
    claim.use(device, issued.certificate.spki_sha256)
    _bind(claim, device)
    return Enrolled(device, issued.certificate, issued.key)


def personal_commitment(device: Device, value: str) -> str:
    """Return the audit log's salted commitment to personal data; nobody can check it once the salt is erased."""
    return hashlib.sha256(b"muster-commitment\x00" + bytes(device.salt) + value.encode()).hexdigest()


def _again(claim: Claim, domain: str, spki: str) -> Enrolled:
    assert claim.done is not None  # noqa: S101  because the caller has looked; this tells the type checker
    device, used_spki = claim.done
    if used_spki == spki:
        for certificate in certificates_of(actor=actors.system_actor(domain, "enrolment"), subject_key=device.key):
            if certificate.spki_sha256 == spki and certificate.revoked_at is None:
                return Enrolled(device, certificate)
    _logger.warning("an enrolment was refused", extra={"cause": "used", "device": device.key})
    raise TokenError(token.REFUSAL)


def _device(domain: TrustDomain, claim: Claim) -> Device:
    """Return the device to enrol: a registered or a new one; an active device only for a replacement board."""
    device = prepared_sql.get_row(Device, lock=True, domain_id=domain.pk, name=claim.name)
    if device is None:
        return _new_device(domain, claim)
    device.domain = domain
    free = device.state in _FREE or (claim.replaces and device.state != Device.State.RETIRED)
    if not free or device.hardware_model_id != claim.hardware_model.pk:
        _logger.warning("an enrolment was refused", extra={"cause": "name taken", "device": device.key})
        raise TokenError(token.REFUSAL)
    device.state = Device.State.ACTIVE
    device.enrolled_at = clock.now()
    prepared_sql.update_row(device, "state", "enrolled_at")
    Twin.objects.update_or_create(device=device, defaults={"fork_token": "", "fork_previous": ""})
    return device


def _new_device(domain: TrustDomain, claim: Claim) -> Device:
    now = clock.now()
    try:
        device = prepared_sql.insert_row(
            Device,
            domain=domain,
            name=claim.name,
            hardware_model=claim.hardware_model,
            state=Device.State.ACTIVE.value,
            enrolled_at=now,
            created_at=now,
        )
    except IntegrityError as error:
        # Another request enrolled under this name at the same moment; this refusal ends the transaction.
        raise TokenError(token.REFUSAL) from error
    prepared_sql.insert_row(Twin, device=device)
    fleet_counts.note_count(domain.pk, NEVER_WORD, 1)
    return device


def _retire_board(device: Device) -> None:
    """Revoke the certificates of the old board, and remove its hardware identities."""
    guard = actors.system_actor(device.domain.slug, "board-replacement")
    for certificate in certificates_of(actor=guard, subject_key=device.key):
        if certificate.revoked_at is None:
            certificates.revoke(actor=guard, fingerprint=certificate.fingerprint, reason="superseded")
    HardwareIdentity.objects.filter(device=device).delete()
    ledger.record(actor=guard, action="device.board-replaced", thing=("device", device.key))


def _bind(claim: Claim, device: Device) -> None:
    """Bind a hardware identity to the device, permanently: an identity belongs to one device.

    Raises:
        ConflictError: another device has it: a serial number was copied, or a board was moved to another device.
    """
    if claim.identity is None:
        return
    one = claim.identity
    rows = HardwareIdentity.objects.filter(domain_id=device.domain_id, kind=one.kind, key=one.key)
    if (other := rows.exclude(device=device).select_related("device").first()) is not None:
        _logger.warning(
            "a hardware identity was presented twice", extra={"device": device.key, "other": other.device.key}
        )
        msg = (
            "Another device already has this hardware identity. Retire that device first, or find out whether the "
            "identity was copied."
        )
        raise ConflictError(msg)
    facts = {"vendor": one.vendor, "serial": one.serial, "facts": one.facts, "verified_at": clock.now()}
    HardwareIdentity.objects.update_or_create(
        domain_id=device.domain_id, kind=one.kind, key=one.key, defaults={"device": device, **facts}
    )


def _facts(claim: Claim, device: Device) -> dict[str, object]:
    """Return the journal fact of this enrolment. If the commit fails, the proof stays used."""
    model = claim.hardware_model
    return {
        "kind": "enrolled",
        "token": claim.journal.get("token", ""),
        "name": device.name,
        "hardware": str(model.class_id),
        "model": {
            "name": model.name,
            "vendor": model.vendor,
            "vendor_id": str(model.vendor_id),
            "flash_model": model.flash_model,
            "arena": model.arena,
        },
    }
