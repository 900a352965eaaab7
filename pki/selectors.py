"""What the ground floor can be asked. Nothing here writes, and nothing looks beyond one domain."""

from datetime import datetime

from cryptography import x509
from django.db.models import Exists, OuterRef, QuerySet

from pki.kernel.errors import NotFoundError
from pki.kernel.recent import Recent
from pki.models import Authority, Certificate, CertificateProfile, CrlShard, LedgerEntry, LedgerHead, TrustDomain, quick

_domains: Recent[str, list[TrustDomain]] = Recent(seconds=1.0)
_authority_ids: Recent[str, list[int]] = Recent(seconds=1.0)


def domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug.

    Raises:
        NotFoundError: there is none.
    """
    found = TrustDomain.objects.filter(slug=slug).first()
    if found is None:
        msg = "There is no such trust domain."
        raise NotFoundError(msg)
    return found


def domains() -> list[TrustDomain]:
    """Return every trust domain of this server (jobs start from it)."""
    return list(TrustDomain.objects.order_by("id"))


def known_domains() -> list[TrustDomain]:
    """Return every trust domain as it was a second ago at most; doors ask for each request."""
    return _domains.get("", domains)


def known_domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug as it was a second ago at most.

    Raises:
        NotFoundError: there is none.
    """
    found = next((one for one in known_domains() if one.slug == slug), None)
    return found or domain(slug)


def certificate_by_fingerprint(fingerprint: str) -> Certificate | None:
    """Return the certificate of a presented leaf, with its authority and domain, or None.

    The one question that crosses domains: the door asks it to learn which domain a peer belongs to.
    """
    rows = Certificate.objects.select_related("authority", "domain")
    return rows.filter(fingerprint=fingerprint).first()


def certificate(slug: str, fingerprint: str) -> Certificate:
    """Return a certificate of a domain.

    Raises:
        NotFoundError: there is none of that fingerprint in this domain.
    """
    found = certificates(slug).filter(fingerprint=fingerprint.lower()).first()
    if found is None:
        msg = "There is no such certificate."
        raise NotFoundError(msg)
    return found


def certificates(slug: str) -> QuerySet[Certificate]:
    """Return a domain's certificates, newest first."""
    return Certificate.objects.filter(domain__slug=slug).select_related("authority").order_by("-id")


def certificates_of(slug: str, subject_key: str) -> list[Certificate]:
    """Return the certificates of one subject, newest first."""
    return list(certificates(slug).filter(subject_key=subject_key))


def authorities(slug: str) -> list[Authority]:
    """Return a domain's CA certificates, roots first."""
    return list(authority_rows(slug).order_by("-kind", "id"))


def authority_rows(slug: str) -> QuerySet[Authority]:
    """Return a domain's CA certificates."""
    return Authority.objects.filter(domain__slug=slug).order_by("id")


def profiles(slug: str) -> QuerySet[CertificateProfile]:
    """Return the certificate profiles that a domain has defined."""
    return CertificateProfile.objects.filter(domain__slug=slug).order_by("name")


def anchors(slug: str) -> list[x509.Certificate]:
    """Return the CA certificates of a domain as certificates: roots, issuing CAs, links of a rollover."""
    return [x509.load_der_x509_certificate(bytes(one.der)) for one in authorities(slug)]


def authority_der(key_id: str) -> bytes | None:
    """Return the newest certificate of a CA of this server in DER, by its key id, or None."""
    found = Authority.objects.filter(key_id=key_id).order_by("-id").values_list("der", flat=True).first()
    return None if found is None else bytes(found)


def standing_by_serial(key_id: str, serial: int) -> tuple[datetime | None, str] | None:
    """Return when and why the certificate of a CA with a serial number was revoked, or None for an unknown one."""
    names = ("revoked_at", "revocation_reason")
    for authority in _authority_ids.get(key_id, lambda: _ids_of(key_id)):
        found = quick.values(Certificate, names, authority_id=authority, serial=f"{serial:x}")
        if found is not None:
            return found[0], found[1]
    return None


def _ids_of(key_id: str) -> list[int]:
    return list(Authority.objects.filter(key_id=key_id, kind=Authority.Kind.ISSUING).values_list("id", flat=True))


def crl_shards(slug: str) -> QuerySet[CrlShard]:
    """Return a domain's revocation lists."""
    return CrlShard.objects.filter(domain__slug=slug).order_by("key_id", "shard")


def expiring(slug: str, now: datetime, until: datetime) -> QuerySet[Certificate]:
    """Return a domain's certificates that end within a time, are not revoked, and have no successor."""
    followed = Certificate.objects.filter(renewed_from=OuterRef("pk"))
    rows = certificates(slug).filter(revoked_at__isnull=True, not_after__gt=now, not_after__lte=until)
    return rows.exclude(Exists(followed)).order_by("not_after", "id")


def links(slug: str) -> list[x509.Certificate]:
    """Return the links between a domain's roots; doors show them, so that each anchor leads to the tree in use."""
    rows = Authority.objects.filter(domain__slug=slug, kind=Authority.Kind.LINK).order_by("id")
    return [x509.load_der_x509_certificate(bytes(one.der)) for one in rows]


def ledger_entries(slug: str) -> QuerySet[LedgerEntry]:
    """Return a domain's ledger entries, newest first, with their place in the tree."""
    return LedgerEntry.objects.filter(domain__slug=slug).select_related("order").order_by("-id")


def ledger_head(slug: str) -> LedgerHead | None:
    """Return the newest signed head of a domain."""
    return LedgerHead.objects.filter(domain__slug=slug).order_by("-epoch", "-size").first()
