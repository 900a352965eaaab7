"""Certificates: lists for people, and lookups of presented certificates for listeners."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted_rows
from pki.kernel.recent import Recent
from pki.models import Authority, Certificate, prepared_sql
from pki.selectors.finding import one_row

_authority_ids: Recent[str, list[int]] = Recent(seconds=1.0)


def certificate_by_fingerprint(fingerprint: str) -> Certificate | None:
    """Return the certificate of a presented leaf, with its authority and domain, or None.

    The only lookup across domains: a listener uses it to find the domain of a peer.
    """
    rows = Certificate.objects.select_related("authority", "domain")
    return rows.filter(fingerprint=fingerprint).first()


def get_certificate(*, actor: Actor, fingerprint: str) -> Certificate:
    """Return a certificate by its fingerprint (SHA-256, hex).

    Raises:
        NotFoundError: the actor sees none of that fingerprint.
    """
    return one_row(list_certificates(actor=actor).filter(fingerprint=fingerprint.lower()), "certificate")


def list_certificates(*, actor: Actor) -> QuerySet[Certificate]:
    """Return a domain's certificates, newest first."""
    return permitted_rows(actor, Action.READ, Certificate.objects.all()).select_related("authority").order_by("-id")


def certificates_of(*, actor: Actor, subject_key: str) -> list[Certificate]:
    """Return the certificates of one subject, newest first."""
    return list(list_certificates(actor=actor).filter(subject_key=subject_key))


def newest_certificates(*, actor: Actor, subject_key: str, most: int) -> list[Certificate]:
    """Return the newest certificates of one subject; a device that renews for years has hundreds."""
    return list(list_certificates(actor=actor).filter(subject_key=subject_key)[:most])


def expiring_certificates(*, actor: Actor, now: datetime, until: datetime) -> QuerySet[Certificate]:
    """Return a domain's certificates that end within a time, are not revoked, and have no successor, by their ends."""
    followed = Certificate.objects.filter(renewed_from=OuterRef("pk"))
    rows = list_certificates(actor=actor).filter(revoked_at__isnull=True, not_after__gt=now, not_after__lte=until)
    return rows.exclude(Exists(followed)).order_by("not_after", "id")


def standing_by_serial(key_id: str, serial: int) -> tuple[datetime | None, str] | None:
    """Return time and reason of the revocation of a CA's certificate by serial number; None if it is unknown."""
    names = ("revoked_at", "revocation_reason")
    for authority in _authority_ids.get(key_id, lambda: _ids_of(key_id)):
        values = prepared_sql.row_values(Certificate, names, authority_id=authority, serial=f"{serial:x}")
        if values is not None:
            return values[0], values[1]
    return None


def _ids_of(key_id: str) -> list[int]:
    return list(Authority.objects.filter(key_id=key_id, kind=Authority.Kind.ISSUING).values_list("id", flat=True))
