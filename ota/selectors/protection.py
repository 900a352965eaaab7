"""Protection of devices against a compromised server, derived from their requests and reports."""

from devices.models import Device
from ota.trust import protection
from ota.trust.protection import Protection
from pki.kernel import clock


def protection_of(device: Device) -> Protection:
    """Return the current protection grade of a device and its basis."""
    twin = getattr(device, "twin", None)
    if twin is None:
        return Protection("")
    reported = twin.reported
    return protection.grade_device(reported.get("proof", {}), reported.get("components", {}), clock.unix())
