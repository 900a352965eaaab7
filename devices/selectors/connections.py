"""Which devices may stay connected: a question of the listeners, across domains."""

from collections.abc import Iterable

from devices.models import Device
from pki.kernel import clock
from pki.models import Certificate
from pki.services.certificates import Standing, standing


def barred(fingerprints: Iterable[str]) -> set[str]:
    """Return which of these device certificates may not stay connected: revoked, over, or of a device out of service.

    One that has expired within its grace may stay: the door lets it renew and nothing else. What this server did not
    issue to a device may stay as well: it opens first enrolment only, and each request decides.
    """
    found = set()
    wanted = list(fingerprints)
    for start in range(0, len(wanted), 500):
        rows = Certificate.objects.select_related("authority", "domain").filter(
            fingerprint__in=wanted[start : start + 500], profile=Certificate.Profile.DEVICE
        )
        held = list(rows)
        active = Device.objects.filter(public_id__in=[one.subject_key for one in held], state=Device.State.ACTIVE)
        serving = {(one.key, one.domain_id) for one in active.only("public_id", "domain_id")}
        now = clock.now()
        for one in held:
            over = standing(one, now) in {Standing.REVOKED, Standing.EXPIRED}
            if over or (one.subject_key, one.domain_id) not in serving:
                found.add(one.fingerprint)
    return found
