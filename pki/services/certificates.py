"""Issue and revoke device certificates, and say whether one may be believed now."""

from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from django.db import transaction

from pki import x509 as rules
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import InvalidError, NotFoundError
from pki.models import Authority, Certificate, TrustDomain
from pki.profiles import DEVICE
from pki.selectors import certificate as certificate_of
from pki.services import journal, ledger, signing
from pki.signals import certificate_revoked

REASONS = frozenset(
    {
        "unspecified",
        "keyCompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "privilegeWithdrawn",
    }
)


class Standing(StrEnum):
    """How a certificate stands at a moment."""

    GOOD = "good"
    NOT_YET = "not-yet-valid"
    RENEWABLE = "expired-within-grace"
    EXPIRED = "expired"
    REVOKED = "revoked"


def issue_device(
    *, actor: Actor, csr: bytes, device_key: str, device_name: str, renewed_from: Certificate | None = None
) -> Certificate:
    """Let the signer issue a certificate for a device, and keep it with its ledger entry.

    Args:
        actor: the enrolling device or the system; the caller has checked that it may.
        csr: PKCS#10 request in DER; only its key is used.
        device_key: the device's public id.
        device_name: for people.
        renewed_from: the certificate that this one follows.
    """
    with transaction.atomic():
        domain = TrustDomain.objects.get(slug=actor.domain)
        der = signing.client("door").issue_device(domain.slug, csr, device_key, device_name)
        certificate = keep(domain=domain, der=der, renewed_from=renewed_from)
        detail = {"fingerprint": certificate.fingerprint, "serial": certificate.serial}
        ledger.record(
            actor=actor,
            action="certificate.issued",
            thing=("device", device_key),
            detail=detail,
            domain=domain,
        )
    return certificate


def keep(*, domain: TrustDomain, der: bytes, renewed_from: Certificate | None = None) -> Certificate:
    """Store a device certificate that the domain's own issuing CA has signed.

    Raises:
        InvalidError: it names a device of another domain.
        NotFoundError: no issuing CA of this domain has signed it.
    """
    parsed = x509.load_der_x509_certificate(der)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    urn = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    if not urn.startswith(rules.device_urn(domain.slug, "")):
        msg = "The certificate names a device of another domain."
        raise InvalidError(msg)
    key = parsed.public_key()
    return Certificate.objects.create(
        domain=domain,
        authority=_authority(domain, parsed),
        serial=f"{parsed.serial_number:x}",
        fingerprint=rules.fingerprint(parsed),
        subject_urn=urn,
        subject_key=urn.rsplit(":", 1)[1],
        spki_sha256=rules.spki_sha256(key),  # type: ignore[arg-type]  # the signer issues for P-256 keys only
        profile=Certificate.Profile.DEVICE,
        der=der,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        renewed_from=renewed_from,
    )


def revoke(*, actor: Actor, fingerprint: str, reason: str) -> Certificate:
    """Revoke a certificate for good: in the journal first, so that no restore takes it back.

    Raises:
        InvalidError: the reason is not one of RFC 5280's that apply here.
    """
    actor.require(Role.SECURITY_OFFICER)
    if reason not in REASONS:
        msg = f"Give one of these reasons: {', '.join(sorted(REASONS))}."
        raise InvalidError(msg)
    with transaction.atomic():
        certificate = certificate_of(actor.domain, fingerprint)
        if certificate.revoked_at:
            return certificate
        journal.append("revoked", domain=actor.domain, fingerprint=certificate.fingerprint, reason=reason)
        _mark_revoked(certificate, reason)
        detail = {"fingerprint": certificate.fingerprint, "reason": reason}
        ledger.record(
            actor=actor,
            action="certificate.revoked",
            thing=("device", certificate.subject_key),
            detail=detail,
        )
        transaction.on_commit(lambda: _tell(certificate, actor.domain))
    return certificate


def revoke_again(fact: dict[str, str]) -> bool:
    """Apply a revocation from the journal to a restored database."""
    certificate = Certificate.objects.filter(fingerprint=fact["fingerprint"], revoked_at__isnull=True).first()
    if certificate is None:
        return False
    _mark_revoked(certificate, fact["reason"])
    return True


def standing(certificate: Certificate, at: datetime) -> Standing:
    """Say how a certificate stands at a moment; the authority must have loaded with it."""
    if certificate.revoked_at is not None:
        return Standing.REVOKED
    if at < certificate.not_before or at < certificate.authority.not_before:
        return Standing.NOT_YET
    if at > certificate.authority.not_after or at > certificate.not_after + DEVICE.grace:
        return Standing.EXPIRED
    return Standing.RENEWABLE if at > certificate.not_after else Standing.GOOD


def _mark_revoked(certificate: Certificate, reason: str) -> None:
    certificate.revoked_at = clock.now()
    certificate.revocation_reason = reason
    certificate.save(update_fields=["revoked_at", "revocation_reason"])


def _authority(domain: TrustDomain, certificate: x509.Certificate) -> Authority:
    for authority in Authority.objects.filter(domain=domain, kind=Authority.Kind.ISSUING).order_by("-id"):
        issuer = x509.load_der_x509_certificate(bytes(authority.der))
        if issuer.subject == certificate.issuer:
            with suppress(InvalidSignature, ValueError, TypeError):
                certificate.verify_directly_issued_by(issuer)
                return authority
    msg = "No issuing CA of this domain has signed that certificate."
    raise NotFoundError(msg)


def _tell(certificate: Certificate, domain: str) -> None:
    certificate_revoked.send(sender=None, fingerprint=certificate.fingerprint, domain=domain)
