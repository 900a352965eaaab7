"""Patches between images, as they were made and tried."""

from django.db import models

from pki.kernel import clock


class Delta(models.Model):
    """One patch, or the note that a format is no good for a pair; kept in the blob store under its SHA-256."""

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    base = models.CharField(max_length=64, blank=True)
    result = models.CharField(max_length=64, db_index=True)
    format = models.CharField(max_length=24)
    size = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    ram = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0)
    trouble = models.CharField(max_length=200, blank=True)
    made_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["domain", "base", "result", "format"], name="one_patch_a_pair_and_format")
        ]

    def __str__(self) -> str:
        return f"{self.format} {self.base[:8] or 'packed'} to {self.result[:8]}"


class PatchWork(models.Model):
    """How far the making of patches to one image has come, as the job that makes them last saw it."""

    domain = models.ForeignKey("pki.TrustDomain", models.CASCADE, related_name="+")
    result = models.CharField(max_length=64)
    wanted = models.IntegerField()
    done = models.IntegerField()
    at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "result"], name="one_row_of_patch_work_an_image")]

    def __str__(self) -> str:
        return f"{self.done} of {self.wanted} to {self.result[:8]}"


class PatchTry(models.Model):
    """The result of the patch that a device received for an assignment, as the device reports it."""

    assignment = models.OneToOneField("ota.Assignment", models.CASCADE, related_name="patch_try")
    format = models.CharField(max_length=24)
    trouble = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.format}: {self.trouble or 'applied'}"
