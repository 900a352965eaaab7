"""Operators of a trust domain: accounts, roles and credentials."""

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from pki.kernel import clock, ids
from pki.kernel.actor import Role
from pki.models import TrustDomain


class Operator(AbstractBaseUser):
    """Account of one person or one program in one trust domain."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    username = models.CharField(max_length=60, unique=True)
    is_active = models.BooleanField(default=True)
    totp_secret = models.CharField(max_length=300, blank=True)
    totp_confirmed_at = models.DateTimeField(null=True)
    totp_last_step = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)

    USERNAME_FIELD = "username"
    objects = BaseUserManager["Operator"]()

    def __str__(self) -> str:
        return self.username

    @property
    def set_up(self) -> bool:
        """Return whether the account has a password and a confirmed second factor."""
        return self.has_usable_password() and self.totp_confirmed_at is not None


class Grant(models.Model):
    """One role of one operator, valid in the whole trust domain."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="grants")
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in Role])
    granted_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["operator", "role"], name="one_grant_a_role")]

    def __str__(self) -> str:
        return f"{self.operator} {self.role}"


class ApiToken(models.Model):
    """API token with the permissions of an operator; the database stores only its hash.

    A token that was created with another token (``parent``) expires no later and is revoked with it.
    """

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="tokens")
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    name = models.CharField(max_length=60)
    prefix = models.CharField(max_length=12)
    secret_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.operator}"


class LoginLink(models.Model):
    """One-time link for the set-up or the recovery of an account.

    The link stores the new password and second factor until both are verified. Until then the account keeps its old
    ones.
    """

    class Purpose(models.TextChoices):
        SET_UP = "set-up"
        RECOVERY = "recovery"

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="links")
    purpose = models.CharField(max_length=10, choices=Purpose, default=Purpose.SET_UP)
    secret_hash = models.CharField(max_length=64, unique=True)
    created_by = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    needs_approval = models.BooleanField(default=False)
    approved_by = models.CharField(max_length=60, blank=True)
    used_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)
    new_password = models.CharField(max_length=128, blank=True)
    new_totp_secret = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return f"{self.purpose} link of {self.operator}"

    @property
    def waits_for_approval(self) -> bool:
        """Return whether another admin must approve the link before it works."""
        return self.needs_approval and not self.approved_by


class Attempts(models.Model):
    """Number of attempts within a time window, counted before any slow hash is computed."""

    key = models.CharField(max_length=120, unique=True)
    count = models.IntegerField(default=0)
    until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.key} {self.count}"
