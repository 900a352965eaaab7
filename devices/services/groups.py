"""Keep groups of devices."""

import re
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from devices import query
from devices.models import Device, Group, GroupMember
from pki.kernel import ids
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, require_action, require_on
from pki.selectors import get_domain as domain_of
from pki.services import ledger

MOST_AT_ONCE = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,59}")


def create(*, actor: Actor, name: str, query_text: str = "") -> Group:
    """Make a group: listed, or by query.

    Raises:
        InvalidError: the name or the query cannot be read.
        ConflictError: the name is taken.
    """
    require_action(actor, Action.CHANGE_GROUPS)
    if not _NAME.fullmatch(name):
        msg = "A group's name must have 1 to 60 letters, digits, spaces, dots, hyphens and underscores."
        raise InvalidError(msg)
    ids.check_not_uuid(name)
    query.parse_query(query_text, Q(domain__slug=actor.domain))
    with transaction.atomic():
        domain = domain_of(actor.domain)
        group, new = Group.objects.get_or_create(domain=domain, name=name, defaults={"query": query_text.strip()})
        if not new:
            msg = f"A group named {name} already exists."
            raise ConflictError(msg)
        detail = {"name": name, "query": group.query}
        ledger.record(actor=actor, action="group.created", thing=("group", group.public_id), detail=detail)
    return group


def change_members(*, actor: Actor, group: Group, add: Iterable[Device] = (), remove: Iterable[Device] = ()) -> Group:
    """Add devices to a listed group and remove others. Repeating this changes nothing.

    Raises:
        ConflictError: its members follow from a query.
    """
    group = require_on(actor, Action.CHANGE_GROUPS, Group.objects.all(), group)
    if group.query:
        msg = "This group's query selects its members. Create a listed group to choose them yourself."
        raise ConflictError(msg)
    added, removed = [device.pk for device in add], [device.pk for device in remove]
    with transaction.atomic():
        rows = [GroupMember(group=group, device_id=key) for key in added]
        GroupMember.objects.bulk_create(rows, ignore_conflicts=True)
        GroupMember.objects.filter(group=group, device_id__in=removed).delete()
        detail = {"added": len(added), "removed": len(removed)}
        ledger.record(actor=actor, action="group.changed", thing=("group", group.public_id), detail=detail)
    return group


def delete(*, actor: Actor, group: Group) -> None:
    """Delete a group; its devices stay unchanged."""
    group = require_on(actor, Action.CHANGE_GROUPS, Group.objects.all(), group)
    with transaction.atomic():
        ledger.record(
            actor=actor, action="group.deleted", thing=("group", group.public_id), detail={"name": group.name}
        )
        group.delete()
