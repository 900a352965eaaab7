"""Questions about people and their tokens, answered within what the asker may see."""

from django.db.models import Prefetch, QuerySet

from fleet.operators.models import ApiToken, LoginLink, Operator
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import NotFoundError


def people_of(*, actor: Actor) -> QuerySet[Operator]:
    """Return the operators of the actor's domain with their roles and live links; admins only."""
    actor.require(Role.ADMIN)
    live = LoginLink.objects.filter(voided_at=None, expires_at__gt=clock.now())
    rows = Operator.objects.filter(domain__slug=actor.domain).order_by("username")
    return rows.prefetch_related("grants", Prefetch("links", live, to_attr="live_links"))


def person_named(*, actor: Actor, username: str) -> Operator:
    """Return one operator of the actor's domain; admins only.

    Raises:
        NotFoundError: there is none of this name.
    """
    actor.require(Role.ADMIN)
    found = Operator.objects.filter(domain__slug=actor.domain, username=username).first()
    if found is None:
        msg = f"There is no operator {username} in this trust domain."
        raise NotFoundError(msg)
    return found


def tokens_of(*, actor: Actor) -> QuerySet[ApiToken]:
    """Return the API tokens that the actor may see, newest first: all of the domain for admins, else one's own."""
    actor.require(Role.VIEWER)
    rows = ApiToken.objects.filter(operator__domain__slug=actor.domain).select_related("operator", "parent")
    if Role.ADMIN not in actor.roles and not actor.is_system:
        rows = rows.filter(operator__username=actor.key)
    return rows.order_by("-id")
