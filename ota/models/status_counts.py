"""How many assignments of a rollout are in which status, kept beside them (decision 0019)."""

from django.db import models
from django.db.models import Q

from ota.models.rollouts import Assignment, Rollout, Wave


class StatusCount(models.Model):
    """A part of the number of assignments in one status; the sum of the parts is the number.

    Triggers on the table of assignments write it in the statement that changes them, so that it holds at any moment
    whoever writes. On SQLite, which has one writer at a time, there is one part (0). On PostgreSQL each statement adds
    a part of its own, so that no two transactions wait for one row; ``ota.services.status_counts`` adds them up.

    ``reason`` is what a device gave as cause of a failure (status ``error``); else it is empty.
    """

    # Without constraints of the database: these would lock rollout and wave for each device that reports.
    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    wave = models.ForeignKey(Wave, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    status = models.CharField(max_length=10, choices=Assignment.Status)
    reason = models.CharField(max_length=500, blank=True)
    part = models.BigIntegerField()
    devices = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rollout", "wave", "status", "reason", "part"], name="one_count_a_status_and_part"
            )
        ]
        indexes = [models.Index(fields=["rollout"], condition=Q(part__gt=0), name="parts_to_add_up")]

    def __str__(self) -> str:
        return f"{self.devices} {self.status}"
