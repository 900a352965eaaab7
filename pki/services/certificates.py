"""Issue and revoke device certificates, and return the status of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from django.db import transaction

from pki import crl
from pki import x509 as rules
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.permissions import Action, permitted_rows
from pki.kernel.recent import Recent
from pki.models import Authority, Certificate, CrlShard, RevokedEntry, TrustDomain, prepared_sql
from pki.profiles import DEVICE, CertificateRules
from pki.selectors import known_domain
from pki.selectors.finding import one_row
from pki.services import changes, journal, ledger, profiles, signing

REASONS = frozenset(crl.REASONS)
#: how many generations of renewals one revocation follows
LONGEST_LINEAGE = 1000
_authorities: Recent[tuple[int, str], Authority] = Recent(seconds=1.0)


class CertificateStanding(StrEnum):
    """The status of a certificate at a given time."""

    GOOD = "good"
    NOT_YET = "not-yet-valid"
    RENEWABLE = "expired-within-grace"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate, and its key (PKCS#8, DER) when the signer made it; the server does not keep the key."""

    certificate: Certificate
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a certificate is issued.

    Args:
        renewed_from: the certificate that the new one follows.
        ledger: further facts for the audit log.
        journal: further facts for the journal, with its ``kind``.
    """

    renewed_from: Certificate | None = None
    ledger: Mapping[str, object] = field(default_factory=dict)
    journal: Mapping[str, object] = field(default_factory=dict)


def issue_device(
    *,
    actor: Actor,
    csr: bytes,
    device_key: str,
    device_name: str,
    profile: CertificateRules = DEVICE,
    occasion: "Occasion | None" = None,
) -> IssuedCertificate:
    """Issue a device certificate with the signer; store it with its audit-log entry and its journal fact.

    Args:
        actor: the enrolling device or the system; the caller has checked that it may.
        csr: PKCS#10 request in DER; only its key is used. Empty: the signer makes a key.
        device_key: the device's public id.
        device_name: for people.
        profile: how long it lives, for which keys, under which CA.
        occasion: what brings it about; none for a certificate without a device of the registry.
    """
    occasion = occasion or Occasion()
    domain = known_domain(actor.domain)
    der, key = signing.signer_client("door").issue_device(domain.slug, csr, device_key, device_name, profile)
    with transaction.atomic(savepoint=False):
        if occasion.journal:
            facts = {"device": device_key, "der": der.hex(), "profile": profile.name, **occasion.journal}
            journal.append_fact(domain=domain.slug, **facts)
        # It came from the signer over its own socket, so its signature is not checked again.
        certificate = _keep(domain, der, occasion.renewed_from, profile.name, _issuer_of)
        detail = {"fingerprint": certificate.fingerprint, "serial": certificate.serial, "profile": profile.name}
        ledger.record(
            actor=actor,
            action="certificate.issued",
            thing=("device", device_key),
            detail={**detail, **occasion.ledger},
            domain=domain,
        )
    return IssuedCertificate(certificate, key)


def keep_certificate(
    *, domain: TrustDomain, der: bytes, renewed_from: Certificate | None = None, profile_name: str = DEVICE.name
) -> Certificate:
    """Store a device certificate that the domain's own issuing CA has signed.

    Raises:
        InvalidError: it names a device of another domain.
        NotFoundError: no issuing CA of this domain has signed it.
    """
    return _keep(domain, der, renewed_from, profile_name, _authority)


def _keep(
    domain: TrustDomain,
    der: bytes,
    renewed_from: Certificate | None,
    profile_name: str,
    authority_of: Callable[[TrustDomain, x509.Certificate], Authority],
) -> Certificate:
    parsed = x509.load_der_x509_certificate(der)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    urn = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    if not urn.startswith(rules.device_urn(domain.slug, "")):
        msg = "The certificate names a device of another domain."
        raise InvalidError(msg)
    key = urn.rsplit(":", 1)[1]
    changes.note_changes(key)
    return prepared_sql.insert_row(
        Certificate,
        domain=domain,
        authority=authority_of(domain, parsed),
        serial=f"{parsed.serial_number:x}",
        fingerprint=rules.certificate_fingerprint(parsed),
        subject_urn=urn,
        subject_key=key,
        spki_sha256=rules.spki_sha256(parsed.public_key()),  # type: ignore[arg-type]  # the signer issues for these types only
        profile=Certificate.Profile.DEVICE.value,
        profile_name=profile_name,
        der=der,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        renewed_from_id=renewed_from.pk if renewed_from else None,
    )


def revoke(*, actor: Actor, fingerprint: str, reason: str, lineage: bool | None = None) -> Certificate:
    """Revoke a certificate permanently: in the journal first, so that a restore cannot undo it.

    Args:
        actor: a security officer.
        fingerprint: hex SHA-256.
        reason: of ``REASONS``.
        lineage: revoke also what was renewed from it; without a word that follows from the reason: whoever had a
            stolen key could renew with it, so ``keyCompromise`` takes the lineage along.

    Raises:
        InvalidError: the reason is not one of RFC 5280's that apply here.
    """
    revocable = permitted_rows(actor, Action.REVOKE_CERTIFICATE, Certificate.objects.select_related("authority"))
    if reason not in REASONS:
        msg = f"The reason must be one of: {', '.join(sorted(REASONS))}."
        raise InvalidError(msg)
    with transaction.atomic():
        certificate = one_row(revocable.filter(fingerprint=fingerprint.lower()), "certificate")
        follow = reason == "keyCompromise" if lineage is None else lineage
        for affected in [certificate, *(renewed_certificates(certificate) if follow else [])]:
            if affected.revoked_at is None:
                _revoke_one(actor, affected, reason)
    return certificate


def renewed_certificates(certificate: Certificate) -> list[Certificate]:
    """Return the certificates that were renewed from a certificate, directly or indirectly, oldest first."""
    certificates: list[Certificate] = []
    newest = [certificate.pk]
    while newest and len(certificates) < LONGEST_LINEAGE:
        rows = Certificate.objects.select_related("authority", "domain").filter(renewed_from__in=newest)
        children = list(rows.order_by("id"))
        certificates += children
        newest = [child.pk for child in children]
    return certificates


def _revoke_one(actor: Actor, certificate: Certificate, reason: str) -> None:
    journal.append_fact("revoked", domain=actor.domain, fingerprint=certificate.fingerprint, reason=reason)
    _mark_revoked(certificate, reason)
    detail = {"fingerprint": certificate.fingerprint, "reason": reason}
    ledger.record(actor=actor, action="certificate.revoked", thing=("device", certificate.subject_key), detail=detail)


def revoke_again(fact: journal.Fact) -> bool:
    """Apply a revocation from the journal to a restored database."""
    rows = Certificate.objects.select_related("authority", "domain")
    certificate = rows.filter(fingerprint=journal.text_of(fact, "fingerprint"), revoked_at__isnull=True).first()
    if certificate is None:
        return False
    _mark_revoked(certificate, journal.text_of(fact, "reason"))
    return True


def certificate_status(certificate: Certificate, at: datetime) -> CertificateStanding:
    """Return the status of a certificate at a given time; its authority must be loaded with it."""
    if certificate.revoked_at is not None:
        return CertificateStanding.REVOKED
    if at < certificate.not_before or at < certificate.authority.not_before:
        return CertificateStanding.NOT_YET
    if at <= certificate.not_after and at <= certificate.authority.not_after:
        return CertificateStanding.GOOD
    if at > certificate.authority.not_after or at > certificate.not_after + _grace(certificate):
        return CertificateStanding.EXPIRED
    return CertificateStanding.RENEWABLE


def renew_at(certificate: Certificate) -> datetime:
    """Return when the holder of a certificate should renew it, by its profile."""
    profile = profiles.profile_of(certificate.domain.slug, certificate.profile_name)
    return profile.renew_at(certificate.not_after, certificate.fingerprint)


def _grace(certificate: Certificate) -> timedelta:
    try:
        return profiles.profile_of(certificate.domain.slug, certificate.profile_name).grace
    except NotFoundError:
        return timedelta(0)


def _mark_revoked(certificate: Certificate, reason: str) -> None:
    certificate.revoked_at = clock.now()
    certificate.revocation_reason = reason
    certificate.save(update_fields=["revoked_at", "revocation_reason"])
    changes.note_changes(certificate.subject_key)
    serial = int(certificate.serial, 16)
    key_id, shard = certificate.authority.key_id, rules.shard_of(serial)
    RevokedEntry.objects.update_or_create(
        certificate=certificate,
        defaults={
            "key_id": key_id,
            "shard": shard,
            "der": crl.crl_entry(serial, certificate.revoked_at, reason),
            "not_after": certificate.not_after,
        },
    )
    CrlShard.objects.update_or_create(
        key_id=key_id, shard=shard, defaults={"dirty": True}, create_defaults={"domain": certificate.domain}
    )


def _issuer_of(domain: TrustDomain, certificate: x509.Certificate) -> Authority:
    """Return the CA that a certificate from the signer names as its issuer."""
    key_id = _authority_key(certificate)
    authority = _authorities.get((domain.pk, key_id), lambda: _authority(domain, certificate))
    if authority.domain_id != domain.pk:
        msg = "No issuing CA of this domain has signed that certificate."
        raise NotFoundError(msg)
    return authority


def _authority_key(certificate: x509.Certificate) -> str:
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return identifier.hex() if identifier else ""


def _authority(domain: TrustDomain, certificate: x509.Certificate) -> Authority:
    """Return the CA that has signed a certificate, wherever the certificate comes from."""
    key_id = _authority_key(certificate)
    rows = Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING, key_id=key_id)
    for authority in rows.order_by("-id"):
        if rules.issued_by(certificate, x509.load_der_x509_certificate(bytes(authority.der))):
            return authority
    msg = "No issuing CA of this domain has signed that certificate."
    raise NotFoundError(msg)
