"""Create, check and revoke API tokens."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction

from fleet.operators.models import ApiToken, Operator
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import DeniedError, InvalidError, NotFoundError, UnauthenticatedError
from pki.kernel.permissions import Action, may_do, require_on
from pki.services import ledger

PREFIX = "mst_"
MAX_DAYS = 365
USUAL_DAYS = 90
USED_EVERY = timedelta(minutes=1)


def create(*, actor: Actor, operator: Operator, name: str, days: int | None = None) -> tuple[ApiToken, str]:
    """Create a token for oneself, or as an admin for others; its secret is shown once.

    A token that is created with another token belongs to the same operator, expires no later and is revoked with it. It
    cannot create tokens itself.

    Args:
        actor: who creates the token.
        operator: owner of the token.
        name: display name, at most 60 characters.
        days: validity in days; by default ``USUAL_DAYS``, or less if the creating token expires earlier.

    Raises:
        DeniedError: the owner has a role that the actor lacks, or the actor uses a token created with a token.
        InvalidError: the name or the validity is out of bounds.
    """
    if actor.key != operator.username:
        _demand_own_roles(actor, operator)
    lifetime = USUAL_DAYS if days is None else days
    if not 0 < lifetime <= MAX_DAYS or not 0 < len(name) <= 60:  # noqa: PLR2004  because the database column has 60
        msg = f"A token needs a name of 1 to 60 characters and a validity of 1 to {MAX_DAYS} days."
        raise InvalidError(msg)
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        parent = _creating_token(actor, operator)
        expires = clock.now() + timedelta(days=lifetime)
        if parent and expires > parent.expires_at:
            expires = _cut_expiry(parent, days)
        token = ApiToken.objects.create(
            operator=operator,
            parent=parent,
            name=name,
            prefix=secret[:12],
            secret_hash=_hash(secret),
            expires_at=expires,
        )
        detail = {"operator": operator.username, "name": name, "parent": actor.token}
        ledger.record(actor=actor, action="api-token.created", thing=("api-token", token.public_id), detail=detail)
    return token, secret


def revoke_api_token(*, actor: Actor, public_id: str) -> ApiToken:
    """Revoke a token and the tokens created with it: an own token, or as an admin any token of the domain."""
    with transaction.atomic():
        rows = ApiToken.objects.filter(operator__domain__slug=actor.domain, public_id=public_id)
        if not may_do(actor, Action.REVOKE_TOKEN_OF_OTHERS):
            rows = rows.filter(operator__username=actor.key)  # does not reveal whether another operator's token exists
        token = rows.select_related("operator", "parent").first()
        if token is None:
            msg = "The API token was not found. Check its id."
            raise NotFoundError(msg)
        for ended in [token, *token.children.filter(revoked_at=None)]:
            if ended.revoked_at is None:
                ended.revoked_at = clock.now()
                ended.save(update_fields=["revoked_at"])
                ledger.record(actor=actor, action="api-token.revoked", thing=("api-token", ended.public_id))
    return token


def authenticate_token(secret: str) -> ApiToken:
    """Return the token with this secret.

    Raises:
        UnauthenticatedError: the token or its parent is expired or revoked, or the secret is unknown.
    """
    rows = ApiToken.objects.select_related("operator__domain", "parent")
    now = clock.now()
    token = rows.filter(secret_hash=_hash(secret), revoked_at__isnull=True, expires_at__gt=now).first()
    ended = token is not None and token.parent and (token.parent.revoked_at or token.parent.expires_at <= now)
    if token is None or ended or not token.operator.is_active:
        msg = "The API token is unknown, expired or revoked. Create a new one."
        raise UnauthenticatedError(msg)
    if token.last_used_at is None or now - token.last_used_at > USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def _demand_own_roles(actor: Actor, operator: Operator) -> None:
    """Deny an admin a token with permissions that the admin lacks, which would allow impersonation."""
    require_on(actor, Action.CREATE_TOKEN_FOR_OTHERS, Operator.objects.all(), operator)
    lacking = set(operator.grants.values_list("role", flat=True)) - set(actor.roles) - {Role.VIEWER}
    if lacking and not actor.is_system:
        msg = f"{operator.username} has the role {min(lacking)}, which you lack. Ask that person to create the token."
        raise DeniedError(msg)


def _creating_token(actor: Actor, operator: Operator) -> ApiToken | None:
    """Return the API token that the actor uses, or None; lock its row against concurrent revocation."""
    if not actor.token:
        return None
    rows = ApiToken.objects.select_for_update().filter(public_id=actor.token, operator=operator, revoked_at=None)
    parent = rows.first()
    if parent is None or parent.parent_id is not None:
        msg = "This API token cannot create tokens. Sign in to the console, or use a token that a person created."
        raise DeniedError(msg)
    return parent


def _cut_expiry(parent: ApiToken, days: int | None) -> datetime:
    if days is None:
        return parent.expires_at
    end = f"{parent.expires_at:%Y-%m-%d %H:%M} UTC"
    msg = f"The new token cannot outlive the token that creates it, which expires at {end}. Request fewer days."
    raise InvalidError(msg)


def person_of_token(secret: str) -> str:
    """Return the user name of a valid token, or an empty text; read-only."""
    rows = ApiToken.objects.filter(secret_hash=_hash(secret), revoked_at__isnull=True, expires_at__gt=clock.now())
    return rows.filter(operator__is_active=True).values_list("operator__username", flat=True).first() or ""


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
