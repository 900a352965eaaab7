"""Certificate profiles of a domain: what a certificate for one kind of device may be."""

from django.db import models

from pki.kernel import clock, ids
from pki.models.documents import DocumentField
from pki.models.domains import TrustDomain


class CertificateProfile(models.Model):
    """One profile; ``pki.profiles.CertificateRules`` says what each field means. The signer has bounds of its own."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.SlugField(max_length=40)
    validity_days = models.PositiveIntegerField(default=365)
    renewal_days = models.PositiveIntegerField(default=30)
    jitter_hours = models.PositiveIntegerField(default=168)
    grace_days = models.PositiveIntegerField(default=90)
    key_types = DocumentField(default=list)
    authority = models.CharField(max_length=64, blank=True)
    proofs = DocumentField(default=list)
    approval = models.BooleanField(default=False)
    server_keygen = models.BooleanField(default=False)
    changed_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="one_profile_a_name")]

    def __str__(self) -> str:
        return self.name
