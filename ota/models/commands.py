"""Commands: few fixed words for one device, signed, expiring, never a shell."""

from django.db import models
from django.db.models import Q

from devices.models import Device
from pki.kernel import clock, ids


class Command(models.Model):
    """One word to one device; the device answers once, and repeating it changes nothing."""

    class Kind(models.TextChoices):
        REBOOT = "reboot"
        IDENTIFY = "identify"
        COLLECT_LOG = "collect-log"
        RE_ATTEST = "re-attest"
        SELF_TEST = "run-self-test"

    class State(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        DONE = "done"
        FAILED = "failed"
        REFUSED = "refused"
        EXPIRED = "expired"
        CANCELED = "canceled"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=13, choices=Kind)
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    reason = models.CharField(max_length=300, blank=True)
    result = models.CharField(max_length=500, blank=True)
    created_by = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["device", "kind"], condition=Q(closed_at__isnull=True), name="one_open_command_a_kind"
            )
        ]
        indexes = [
            models.Index(fields=["device", "closed_at"]),
            models.Index(fields=["domain", "state", "id"], name="commands_in_a_state"),
            models.Index(
                fields=["domain", "expires_at"], condition=Q(closed_at__isnull=True), name="commands_that_expire"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"

    @property
    def key(self) -> str:
        """Return the public id as text."""
        return str(self.public_id)
