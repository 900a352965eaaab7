"""How much the guard may do by itself: a wrong rule must not quarantine a fleet. Pure but for one count."""

from datetime import timedelta

from devices.models import Device, Incident
from pki.kernel import clock

WINDOW = timedelta(hours=1)
#: at most this share of a hardware model's devices an hour, but always one
PERCENT = 1


def allowed(device: Device) -> bool:
    """Say whether one more device of this hardware model may be quarantined automatically now."""
    kin = Device.objects.filter(domain=device.domain_id, hardware_model=device.hardware_model_id)
    recent = Incident.objects.filter(
        device__in=kin, opened_at__gt=clock.now() - WINDOW, reaction__has_key="quarantined"
    )
    return recent.count() < max(1, kin.count() * PERCENT // 100)
