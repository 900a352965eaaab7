"""From an operator to the Actor that services know."""

from fleet.operators.models import Operator
from pki.kernel.actor import Actor, ActorKind, Role


def actor_for(operator: Operator, via: str, request_id: str = "", token: str = "") -> Actor:
    """Return the actor of an operator, with the roles that it has now.

    Args:
        operator: the person, or the account of a program.
        via: where the request came in.
        request_id: of the request.
        token: public id of the API token that was shown, if one was.
    """
    roles = frozenset(Role(role) for role in operator.grants.values_list("role", flat=True))
    return Actor(ActorKind.OPERATOR, operator.username, operator.domain.slug, roles, via, request_id, token)
