"""Who may do what: one table of actions and roles, and one function that reads and writes ask.

``permitted(actor, action, rows)`` returns the rows of a set that an actor may do an action to, and refuses an actor who
may not do it to any. Selectors cut what they show with it; services ask it before they change something. A right that
is narrower than a trust domain (a scope of devices) is a further condition here, and nowhere else.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, Self, TypeVar

from pki.kernel.actor import Actor, Role


class Action(StrEnum):
    """What can be done, as far as roles tell it apart."""

    READ = "read"
    READ_DEVICE_LOGS = "read-device-logs"
    READ_PEOPLE = "read-people"


ROLES: Mapping[Action, frozenset[Role]] = {
    Action.READ: frozenset({Role.VIEWER}),
    Action.READ_DEVICE_LOGS: frozenset({Role.OPERATOR, Role.SECURITY_OFFICER}),
    Action.READ_PEOPLE: frozenset({Role.ADMIN}),
}


class Rows(Protocol):
    """A set of objects in a database, as far as it can be narrowed."""

    def filter(self, **conditions: object) -> Self:
        """Return the rows that meet every condition."""


_Rows = TypeVar("_Rows", bound=Rows)


def require_action(actor: Actor, action: Action) -> None:
    """Refuse an actor who may not do an action to anything.

    Raises:
        DeniedError: no role of the actor allows it.
    """
    actor.require(*ROLES[action])


def permitted(actor: Actor, action: Action, rows: _Rows, domain: str = "domain") -> _Rows:
    """Return the rows that an actor may do an action to.

    Args:
        actor: who asks.
        action: what is meant to be done; reading is an action too.
        rows: of which some may belong to others.
        domain: name of the field that leads from a row to its trust domain.

    Raises:
        DeniedError: no role of the actor allows the action.
    """
    require_action(actor, action)
    return rows.filter(**{f"{domain}__slug": actor.domain})
