"""Devices of connected peers, looked up by their certificates across domains."""

from collections.abc import Iterable

from django.db.models import QuerySet

from devices.models import Device
from pki.kernel import clock, ids
from pki.models import Certificate
from pki.services.certificates import CertificateStanding, certificate_status


def device_behind(gateway: Device, public_id: str) -> Device | None:
    """Return the device in service behind a gateway, or None."""
    if not ids.is_uuid(public_id):
        return None
    rows = _served().filter(public_id=public_id, domain=gateway.domain_id, parent=gateway.pk)
    return rows.filter(state=Device.State.ACTIVE).first()


def device_of_certificate(certificate: Certificate) -> Device | None:
    """Return the device that a certificate names, in any state, or None."""
    return _served().filter(domain=certificate.domain_id, public_id=certificate.subject_key).first()


def _served() -> QuerySet[Device]:
    return Device.objects.select_related("domain", "hardware_model", "twin")


def barred_fingerprints(fingerprints: Iterable[str]) -> set[str]:
    """Return the device certificates that must be disconnected: revoked, expired, or of a device out of service.

    One that has expired within its grace period may stay: the device gateway lets it renew and nothing else. A
    certificate that this server did not issue may stay as well: it is for first enrolment only, and each request is
    checked.
    """
    found = set()
    asked = list(fingerprints)
    for start in range(0, len(asked), 500):
        rows = Certificate.objects.select_related("authority", "domain").filter(
            fingerprint__in=asked[start : start + 500], profile=Certificate.Profile.DEVICE
        )
        held = list(rows)
        active = Device.objects.filter(
            public_id__in=[certificate.subject_key for certificate in held], state=Device.State.ACTIVE
        )
        serving = {(device.key, device.domain_id) for device in active.only("public_id", "domain_id")}
        now = clock.now()
        for certificate in held:
            over = certificate_status(certificate, now) in {CertificateStanding.REVOKED, CertificateStanding.EXPIRED}
            if over or (certificate.subject_key, certificate.domain_id) not in serving:
                found.add(certificate.fingerprint)
    return found
