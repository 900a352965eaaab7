"""Groups of devices: listed one by one, or selected by a query."""

from django.db import models

from devices.models.registry import Device
from pki.kernel import clock, ids
from pki.models import TrustDomain


class Group(models.Model):
    """A named set; with a ``query`` its members are the devices that match now, without one they are listed."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="one_group_a_name")]

    def __str__(self) -> str:
        return self.name


class GroupMember(models.Model):
    """A device in a listed group."""

    group = models.ForeignKey(Group, models.CASCADE, related_name="members")
    device = models.ForeignKey(Device, models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "device"], name="one_membership_a_device")]

    def __str__(self) -> str:
        return f"{self.device} in {self.group}"
