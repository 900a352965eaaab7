"""How many devices of a rollout a format of patches served or failed, kept beside their reports (decision 0019)."""

from django.db import models
from django.db.models import Q

from ota.models.rollouts import Rollout


class PatchCount(models.Model):
    """A part of the number of devices of a rollout that reported on a patch in one format; the sum is the number.

    Triggers on the table of ``PatchTry`` write it, as those of ``StatusCount`` do, and with the same parts.
    ``failed`` says whether the devices reported a failure and fetched the whole image.
    """

    # Without a constraint of the database: it would lock the rollout for each device that reports.
    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    format = models.CharField(max_length=24)
    failed = models.BooleanField()
    part = models.BigIntegerField()
    devices = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rollout", "format", "failed", "part"], name="one_count_a_format_outcome_and_part"
            )
        ]
        indexes = [models.Index(fields=["rollout"], condition=Q(part__gt=0), name="patch_parts_to_add_up")]

    def __str__(self) -> str:
        return f"{self.devices} {self.format} {'failed' if self.failed else 'applied'}"
