"""Queries for operators and their API tokens, restricted to what the actor may read."""

from django.db.models import Prefetch, QuerySet

from fleet.operators.models import ApiToken, LoginLink, Operator
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import NotFoundError
from pki.kernel.permissions import Action, may_do, permitted_rows


def people_of(*, actor: Actor) -> QuerySet[Operator]:
    """Return the operators of the actor's domain with their roles and valid links; admins only."""
    live = LoginLink.objects.filter(voided_at=None, expires_at__gt=clock.now())
    rows = permitted_rows(actor, Action.READ_PEOPLE, Operator.objects.all()).order_by("username")
    return rows.prefetch_related("grants", Prefetch("links", live, to_attr="live_links"))


def person_named(*, actor: Actor, username: str) -> Operator:
    """Return one operator of the actor's domain; admins only.

    Raises:
        NotFoundError: no operator has this name.
    """
    operator = permitted_rows(actor, Action.READ_PEOPLE, Operator.objects.all()).filter(username=username).first()
    if operator is None:
        msg = f"No operator {username} in this trust domain. Check the name under People."
        raise NotFoundError(msg)
    return operator


def tokens_of(*, actor: Actor) -> QuerySet[ApiToken]:
    """Return API tokens, newest first: all tokens of the domain for admins, own tokens for others."""
    rows = permitted_rows(actor, Action.READ, ApiToken.objects.all(), "operator__domain")
    rows = rows.select_related("operator", "parent")
    if not may_do(actor, Action.READ_TOKENS_OF_OTHERS):
        rows = rows.filter(operator__username=actor.key)
    return rows.order_by("-id")


def own_tokens(*, actor: Actor) -> QuerySet[ApiToken]:
    """Return the actor's own API tokens, newest first, also for admins."""
    return tokens_of(actor=actor).filter(operator__username=actor.key)
