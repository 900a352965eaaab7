"""Limit the guard's automatic actions: a wrong rule must not quarantine a whole fleet."""

from datetime import timedelta

from devices.models import Device
from devices.selectors.incidents import has_same_hardware, quarantined_since
from pki.kernel import clock

WINDOW = timedelta(hours=1)
#: largest share of a hardware model's devices per hour, but always at least one device
PERCENT = 1


def may_quarantine(device: Device) -> bool:
    """Return whether one more device of this hardware model may be quarantined automatically now."""
    recent = quarantined_since(device, clock.now() - WINDOW)
    # One more is within the share of so many devices; counting the rest of a large fleet decides nothing.
    return recent == 0 or has_same_hardware(device, -(-(recent + 1) * 100 // PERCENT))
