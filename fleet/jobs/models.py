"""Leases: a job runs in one process at a time, whatever number of workers there is."""

from django.db import models


class Lease(models.Model):
    """Who runs a job, until when, and how it last ended; ``fence`` grows each time that somebody takes it."""

    job = models.CharField(max_length=100, unique=True)
    holder = models.CharField(max_length=60, blank=True)
    fence = models.BigIntegerField(default=0, db_default=0)
    until = models.DateTimeField()
    ran_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.job
