"""Leases: a job runs in one process at a time, for any number of workers."""

from django.db import models


class Lease(models.Model):
    """The holder of a job's lease, its expiry, and the result of the last run; ``fence`` grows with each new holder."""

    job = models.CharField(max_length=100, unique=True)
    holder = models.CharField(max_length=60, blank=True)
    fence = models.BigIntegerField(default=0, db_default=0)
    until = models.DateTimeField()
    ran_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.job
