"""How many devices and incidents there are of each kind, kept as changes so that no count reads the fleet."""

from django.db import models

from pki.models import TrustDomain


class FleetCount(models.Model):
    """A change of one of a domain's counts, written in the transaction that changes what is counted.

    A count is the sum of its rows. Rows are only added, so that no two transactions wait for each other; a job folds
    them (``devices.services.fleet_counts``).
    """

    class Kind(models.TextChoices):
        ONLINE = "online"
        LATE = "late"
        OVERDUE = "overdue"
        NEVER = "never"
        QUARANTINED = "quarantined"
        OPEN_INCIDENTS = "open_incidents"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=14, choices=Kind)
    delta = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.kind} {self.delta:+}"
