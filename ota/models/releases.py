"""Releases: bundles that people signed, on their way into the published TUF repository."""

from django.db import models

from ota.models.bundles import Bundle
from pki.kernel import clock, ids


class Release(models.Model):
    """The offer of one bundle to devices; only signatures of two officers publish it."""

    class State(models.TextChoices):
        PREPARED = "prepared"
        PUBLISHED = "published"
        WITHDRAWN = "withdrawn"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    bundle = models.OneToOneField(Bundle, models.PROTECT, related_name="release")
    state = models.CharField(max_length=12, choices=State, default=State.PREPARED)
    targets_version = models.BigIntegerField()
    base_version = models.BigIntegerField()
    prepared = models.BinaryField()
    digest = models.CharField(max_length=64)
    published_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        indexes = [models.Index(fields=["domain", "-id"])]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(state="published") | models.Q(published_at__isnull=False),
                name="a_published_release_has_its_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.bundle} {self.state}"


class ReleaseSignature(models.Model):
    """One officer's signature over the prepared targets metadata."""

    release = models.ForeignKey(Release, models.PROTECT, related_name="signatures")
    keyid = models.CharField(max_length=64)
    officer = models.CharField(max_length=60)
    signature = models.CharField(max_length=256)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "keyid"], name="one_signature_a_key")]

    def __str__(self) -> str:
        return f"{self.officer} {self.keyid[:12]}"
