"""Convert an operator to the actor that services accept."""

from fleet.operators.models import Operator
from pki.kernel.actor import Actor, ActorKind, Role


def actor_for(operator: Operator, via: str, request_id: str = "", token: str = "") -> Actor:
    """Return the actor of an operator, with its current roles.

    Args:
        operator: account of a person or a program.
        via: interface that received the request, such as ``console``.
        request_id: id of the request.
        token: public id of the API token of the request, or empty.
    """
    roles = frozenset(Role(role) for role in operator.grants.values_list("role", flat=True))
    return Actor(ActorKind.OPERATOR, operator.username, operator.domain.slug, roles, via, request_id, token)
