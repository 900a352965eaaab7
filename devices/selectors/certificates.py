"""Certificates and the devices that hold them."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import QuerySet

from devices.selectors.registry import device_referred
from pki import selectors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.filters import number_field, reference_field
from pki.models import Certificate

MOST_DAYS = 3660


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """The filter of the certificate list."""

    device: str = reference_field("The device that the certificate names.", "Certificate.subject_key")
    expiring: str = number_field(
        "Expires within this many days, is not revoked, and is not renewed yet.",
        "days",
        MOST_DAYS,
        "Certificate.not_after",
    )


def list_device_certificates(
    *,
    actor: Actor,
    wanted: CertificateFilter = CertificateFilter(),
) -> QuerySet[Certificate]:
    """Return the certificates that match, newest first; expiring ones in the order of their ends."""
    now = clock.now()
    rows = selectors.list_certificates(actor=actor)
    if wanted.expiring:
        rows = selectors.expiring_certificates(actor=actor, now=now, until=now + timedelta(days=int(wanted.expiring)))
    if wanted.device:
        rows = rows.filter(subject_key=device_referred(actor=actor, word=wanted.device).key)
    return rows
