"""Certificate authorities and the certificates they issued."""

from django.db import models
from django.db.models import Q

from pki.kernel import clock, ids
from pki.models.domains import TrustDomain


class Authority(models.Model):
    """A CA certificate of a domain: an offline root, an issuing CA whose key the signer holds, or a link of a rollover.

    ``key_id`` is the subject key identifier in hex. One CA keeps it when its key is certified again.
    """

    class Kind(models.TextChoices):
        ROOT = "root"
        ISSUING = "issuing"
        LINK = "link"

    class State(models.TextChoices):
        ACTIVE = "active"
        RETIRED = "retired"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=200)
    der = models.BinaryField()
    fingerprint = models.CharField(max_length=64)
    key_id = models.CharField(max_length=64, db_index=True, default="")
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.ACTIVE)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "fingerprint"], name="one_authority_a_fingerprint")]

    def __str__(self) -> str:
        return self.name


class Certificate(models.Model):
    """An end-entity certificate; found by fingerprint or by (issuer, serial), never by common name."""

    class Profile(models.TextChoices):
        DEVICE = "device"
        DOOR = "door"

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    authority = models.ForeignKey(Authority, models.PROTECT, related_name="+")
    serial = models.CharField(max_length=40)
    fingerprint = models.CharField(max_length=64, unique=True)
    subject_urn = models.CharField(max_length=200)
    subject_key = models.CharField(max_length=64, db_index=True)
    spki_sha256 = models.CharField(max_length=64, db_index=True)
    profile = models.CharField(max_length=8, choices=Profile)
    profile_name = models.CharField(max_length=40, default="device")
    der = models.BinaryField()
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    renewed_from = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)
    revocation_reason = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["authority", "serial"], name="one_certificate_a_serial"),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True) | ~Q(revocation_reason=""),
                name="a_revocation_has_its_reason",
            ),
        ]
        # With the id, so that lists in that order are read from the index and not from all rows of the domain.
        indexes = [
            models.Index(fields=["domain", "not_after"]),
            models.Index(fields=["domain", "subject_key", "id"], name="certificates_of_a_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.subject_urn} {self.serial}"
