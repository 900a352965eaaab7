"""Limit the guard's automatic actions: a wrong rule must not quarantine a whole fleet."""

from datetime import timedelta

from devices.models import Device
from devices.selectors.incidents import quarantined_since
from pki.kernel import clock

WINDOW = timedelta(hours=1)
#: largest share of a hardware model's devices per hour, but always at least one device
PERCENT = 1


def may_quarantine(device: Device) -> bool:
    """Return whether one more device of this hardware model may be quarantined automatically now."""
    recent, same_model = quarantined_since(device, clock.now() - WINDOW)
    return recent < max(1, same_model * PERCENT // 100)
