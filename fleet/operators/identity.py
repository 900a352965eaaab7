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
    # The domain comes with the grants: every page would ask for it once more. Who has none has a domain all the same.
    held = list(operator.grants.values_list("role", "operator__domain__slug"))
    domain = held[0][1] if held else operator.domain.slug
    roles = frozenset(Role(role) for role, _ in held)
    return Actor(ActorKind.OPERATOR, operator.username, domain, roles, via, request_id, token)
