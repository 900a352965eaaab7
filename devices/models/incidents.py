"""Incidents: one per change of one device's behaviour, with the explanation of that time."""

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from devices.models.registry import Device
from pki.kernel import clock, ids
from pki.models import TrustDomain
from pki.models.documents import DocumentField

if TYPE_CHECKING:
    from devices.incident_documents import Explanation, Reaction


class Incident(models.Model):
    """One flagged change; the two documents are those of ``devices.incident_documents``."""

    class State(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"

    class Verdict(models.TextChoices):
        CONFIRMED = "true"
        BENIGN = "benign"
        FALSE = "false"
        HEALED = "healed"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    state = models.CharField(max_length=6, choices=State, default=State.OPEN)
    layer = models.CharField(max_length=12)
    severity = models.CharField(max_length=6)
    score = models.FloatField()
    explanation: "models.JSONField[Explanation, Explanation]" = DocumentField(default=dict)
    reaction: "models.JSONField[Reaction, Reaction]" = DocumentField(default=dict)
    verdict = models.CharField(max_length=8, choices=Verdict, blank=True)
    opened_at = models.DateTimeField(default=clock.now)
    last_seen_at = models.DateTimeField(default=clock.now)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["device"], condition=Q(state="open"), name="one_open_incident_a_device")
        ]
        # With the id, so that lists in that order are read from the index and not from all rows of the domain.
        indexes = [
            models.Index(fields=["domain", "state", "id"], name="incidents_in_a_state"),
            models.Index(fields=["domain", "device", "id"], name="incidents_of_a_device"),
            models.Index(fields=["domain", "closed_at"], name="incidents_by_their_end"),
            models.Index(fields=["domain", "opened_at"], name="incidents_by_their_start"),
        ]

    def __str__(self) -> str:
        return f"{self.layer} on {self.device}"

    @property
    def layer_now(self) -> str:
        """Return the layer of the newest explanation: an incident may escalate."""
        return str(self.explanation.get("layer", self.layer))
