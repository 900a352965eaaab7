"""Operators of a trust domain: who they are, what they may do, and how they prove it."""

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from pki.kernel import clock, ids
from pki.kernel.actor import Role
from pki.models import TrustDomain


class Operator(AbstractBaseUser):
    """One person, or one program's account, in one trust domain."""

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
        """Say whether password and second factor are in place."""
        return self.has_usable_password() and self.totp_confirmed_at is not None


class Grant(models.Model):
    """One role of one operator, over the whole domain."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="grants")
    role = models.CharField(max_length=20, choices=[(role.value, role.value) for role in Role])
    granted_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["operator", "role"], name="one_grant_a_role")]

    def __str__(self) -> str:
        return f"{self.operator} {self.role}"


class ApiToken(models.Model):
    """A secret by which a program acts as an operator; only its hash is kept."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="tokens")
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
    """A one-time address that signs an operator in, so that no first password is ever needed."""

    operator = models.ForeignKey(Operator, models.CASCADE, related_name="+")
    secret_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"link of {self.operator}"


class Attempts(models.Model):
    """How often something was tried within a window: counted before any slow hash is computed."""

    key = models.CharField(max_length=120, unique=True)
    count = models.IntegerField(default=0)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key} {self.count}"
