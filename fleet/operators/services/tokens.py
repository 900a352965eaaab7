"""Make, use and revoke API tokens."""

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction

from fleet.operators.models import ApiToken, Operator
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import InvalidError, NotFoundError, UnauthenticatedError
from pki.services import ledger

PREFIX = "mst_"
MAX_DAYS = 365
USED_EVERY = timedelta(minutes=1)


def create(*, actor: Actor, operator: Operator, name: str, days: int = 90) -> tuple[ApiToken, str]:
    """Make a token for oneself, or as an admin for others; its secret is shown this once."""
    if actor.key != operator.username:
        actor.require(Role.ADMIN)
    if not 0 < days <= MAX_DAYS or not 0 < len(name) <= 60:  # noqa: PLR2004  because the column has 60
        msg = f"A token needs a name and lives between 1 and {MAX_DAYS} days."
        raise InvalidError(msg)
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            operator=operator,
            name=name,
            prefix=secret[:12],
            secret_hash=_hash(secret),
            expires_at=clock.now() + timedelta(days=days),
        )
        detail = {"operator": operator.username, "name": name}
        ledger.record(actor=actor, action="api-token.created", thing=("api-token", token.public_id), detail=detail)
    return token, secret


def revoke(*, actor: Actor, public_id: str) -> ApiToken:
    """Make a token worthless: one's own, or as an admin anyone's in the domain."""
    with transaction.atomic():
        rows = ApiToken.objects.filter(operator__domain__slug=actor.domain, public_id=public_id)
        token = rows.select_related("operator").first()
        if token is None:
            msg = "There is no such token."
            raise NotFoundError(msg)
        if actor.key != token.operator.username:
            actor.require(Role.ADMIN)
        if token.revoked_at is None:
            token.revoked_at = clock.now()
            token.save(update_fields=["revoked_at"])
            ledger.record(actor=actor, action="api-token.revoked", thing=("api-token", token.public_id))
    return token


def use(secret: str) -> Operator:
    """Return the operator whose token this is.

    Raises:
        UnauthenticatedError: unknown, expired or revoked.
    """
    rows = ApiToken.objects.select_related("operator__domain")
    now = clock.now()
    token = rows.filter(secret_hash=_hash(secret), revoked_at__isnull=True, expires_at__gt=now).first()
    if token is None or not token.operator.is_active:
        msg = "The API token is unknown, expired or revoked."
        raise UnauthenticatedError(msg)
    if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.operator


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
