"""OSCORE contexts (RFC 8613): their devices and sequence numbers. Their secrets are never stored."""

from django.db import models

from devices.models.registry import Device
from pki.kernel import clock
from pki.models import Certificate


class OscoreContext(models.Model):
    """A context that a device received for one of its certificates; it ends with the certificate.

    ``kid`` is the device's Sender ID as a number. ``sender_next`` and ``recipient_next`` are written ahead, in blocks:
    no Sender Sequence Number from the first on was ever used by us, none from the second on was ever accepted from the
    device.
    """

    kid = models.BigIntegerField(unique=True)
    device = models.ForeignKey(Device, models.CASCADE, related_name="+")
    certificate = models.ForeignKey(Certificate, models.CASCADE, related_name="+")
    sender_next = models.BigIntegerField(default=0)
    recipient_next = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.kid:010x}"
