"""Releases, and the statements that people sign: about a release, its withdrawal, counter floors, another year."""

from django.db import models

from ota.models.bundles import Bundle
from pki.kernel import clock, ids
from pki.models.documents import DocumentField


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

    @property
    def statement(self) -> "Statement | None":
        """Return what officers sign to release it, as it was prepared last, or None."""
        return self._newest(Statement.Kind.RELEASE)

    @property
    def withdrawal(self) -> "Statement | None":
        """Return what officers sign to take it back, or None."""
        return self._newest(Statement.Kind.WITHDRAWAL)

    def _newest(self, kind: str) -> "Statement | None":
        statements = [statement for statement in self.statements.all() if statement.kind == kind]
        return max(statements, key=lambda one: one.pk, default=None)


class Statement(models.Model):
    """One change of the signed targets that officers are asked for."""

    class Kind(models.TextChoices):
        RELEASE = "release"
        WITHDRAWAL = "withdrawal"
        FLOORS = "floors"
        RENEWAL = "renewal"

    class State(models.TextChoices):
        PREPARED = "prepared"
        PUBLISHED = "published"
        STALE = "stale"

    domain = models.ForeignKey("pki.TrustDomain", models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    kind = models.CharField(max_length=12, choices=Kind)
    state = models.CharField(max_length=12, choices=State, default=State.PREPARED)
    release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="statements")
    summary = models.CharField(max_length=300)
    paper = models.BinaryField()
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["domain", "-id"])]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=["release", "withdrawal"]) ^ models.Q(release__isnull=True),
                name="a_statement_about_a_release_names_it",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}: {self.summary}"


class StatementSignature(models.Model):
    """One officer's signatures over all documents of a statement."""

    statement = models.ForeignKey(Statement, models.PROTECT, related_name="signatures")
    keyid = models.CharField(max_length=64)
    officer = models.CharField(max_length=60)
    sigs = DocumentField()
    at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["statement", "keyid"], name="one_signature_a_key_and_statement")]

    def __str__(self) -> str:
        return f"{self.officer} {self.keyid[:12]}"
