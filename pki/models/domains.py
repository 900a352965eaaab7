"""The trust domain, to which every other row belongs, and its numbers."""

from django.db import models

from pki.kernel import clock, ids
from pki.models.documents import DocumentField


class TrustDomain(models.Model):
    """One organisation: its own CA tree, signing keys, TUF repository, devices and people."""

    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=200)
    host_names = DocumentField(default=list)
    created_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return self.slug


class MonotoneNumber(models.Model):
    """The last number issued under a name; it only grows (``pki.kernel.monotone``)."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    value = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="one_number_a_name")]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
