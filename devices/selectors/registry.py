"""Devices, their groups and hardware models."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from devices import query
from devices.contact_words import PRESENCES
from devices.models import Device, Group, GroupMember, HardwareModel, Twin
from devices.name_search import MOST, name_holds, one_of_few
from devices.query import FIELDS, FURTHER
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.filters import choice_field, query_text, reference_field, text_field, yes_no
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors.finding import named_rows, one_by_id, one_referred, one_row, rows_of_domain

_ALL = "domain", "hardware_model", "twin", "parent"


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """The filter of the registry; every given field must match."""

    q: str = text_field("Part of the device's name; case does not matter.", "Device.name", most=100)
    state: str = choice_field(FIELDS["state"].says, Device.State.values, "Device.state")
    hardware: str = reference_field(FIELDS["hardware"].says, "Device.hardware_model")
    quarantined: str = yes_no(FURTHER["quarantined"][1], "Device.quarantined_at")
    presence: str = choice_field(
        "The time since its last contact, compared with its polling interval.", PRESENCES, "Device.presence"
    )
    query: str = query_text("A query over the registry and the values that devices report.", query.LONGEST)
    group: str = reference_field(FIELDS["group"].says, "Group")


def list_devices(*, actor: Actor, wanted: DeviceFilter = DeviceFilter()) -> QuerySet[Device]:
    """Return the devices that match, with hardware model, twin and gateway, by name."""
    rows = rows_of_domain(permitted_rows(actor, Action.READ, Device.objects.all()), actor.domain)
    rows = rows.select_related(*_ALL).order_by("name", "id")
    if wanted.q:
        rows = rows.filter(name_holds(wanted.q))
    if wanted.state:
        rows = rows.filter(state=wanted.state)
    if wanted.presence:
        rows = rows.filter(presence=wanted.presence)
    if wanted.hardware:
        rows = rows.filter(hardware_model=one_referred(hardware_models(actor=actor), wanted.hardware, "hardware model"))
    if wanted.quarantined:
        rows = rows.filter(quarantined_at__isnull=wanted.quarantined != "yes")
    if wanted.query:
        rows = rows.filter(query.parse_query(wanted.query, Q(domain__slug=actor.domain)))
    if wanted.group:
        rows = rows.filter(members_of(one_referred(list_groups(actor=actor), wanted.group, "group")))
    return rows


def get_device(*, actor: Actor, public_id: str | UUID) -> Device:
    """Return a device by its public id.

    Raises:
        NotFoundError: the actor sees none of that id.
    """
    return one_by_id(list_devices(actor=actor), public_id, "device")


def device_by_name(*, actor: Actor, name: str) -> Device:
    """Return a device by its name.

    Raises:
        NotFoundError: the actor sees none of that name.
    """
    return one_row(list_devices(actor=actor).filter(name=name), "device")


def device_referred(*, actor: Actor, word: str) -> Device:
    """Return the device that a filter names, by its name or its public id.

    Raises:
        InvalidError: the actor sees no such device.
    """
    return one_referred(list_devices(actor=actor), word, "device")


def devices_by_names(*, actor: Actor, names: Iterable[str]) -> list[Device]:
    """Return the devices with these names.

    Raises:
        NotFoundError: one of them does not exist; the sentence says which.
    """
    unique = list(dict.fromkeys(names))
    devices = {device.name: device for device in list_devices(actor=actor).filter(name__in=unique)}
    if missing := [name for name in unique if name not in devices]:
        msg = f"There is no device {missing[0][:100]!r}. Nothing was changed."
        raise NotFoundError(msg)
    return [devices[name] for name in unique]


def device_names(*, actor: Actor, public_ids: Iterable[str | UUID]) -> dict[str, str]:
    """Return the names of devices, by public id; what the actor does not see is left out."""
    rows = named_rows(permitted_rows(actor, Action.READ, Device.objects.all()), public_ids)
    return {str(key): name for key, name in rows.values_list("public_id", "name")}


def device_public_ids(*, actor: Actor, names: Iterable[str]) -> dict[str, UUID]:
    """Return the public ids of devices, by name."""
    rows = permitted_rows(actor, Action.READ, Device.objects.all()).filter(name__in=list(names))
    return dict(rows.values_list("name", "public_id"))


def hardware_models(*, actor: Actor) -> QuerySet[HardwareModel]:
    """Return the hardware models by name."""
    return permitted_rows(actor, Action.READ, HardwareModel.objects.all()).order_by("name", "id")


def hardware_model(*, actor: Actor, name: str) -> HardwareModel:
    """Return a hardware model by its name.

    Raises:
        NotFoundError: the actor sees none of that name.
    """
    return one_row(hardware_models(actor=actor).filter(name=name), "hardware model")


def hardware_model_by_id(*, actor: Actor, public_id: str | UUID) -> HardwareModel:
    """Return a hardware model by its public id.

    Raises:
        NotFoundError: the actor sees none of that id.
    """
    return one_by_id(hardware_models(actor=actor), public_id, "hardware model")


def list_groups(*, actor: Actor) -> QuerySet[Group]:
    """Return the groups by name."""
    return permitted_rows(actor, Action.READ, Group.objects.all()).order_by("name", "id")


def get_group(*, actor: Actor, public_id: str | UUID) -> Group:
    """Return a group by its public id.

    Raises:
        NotFoundError: the actor sees none of that id.
    """
    return one_by_id(list_groups(actor=actor), public_id, "group")


def members_of(group: Group) -> Q:
    """Return the condition that a device belongs to a group now.

    Raises:
        InvalidError: its query names something that no longer exists.
    """
    if group.query:
        return _selected_by(group)
    members = GroupMember.objects.filter(group=group)
    if connection.vendor == "sqlite":
        # SQLite does not know that they are few, and would search the names of all devices for them.
        few = dict(members.values_list("device_id", "device__name")[: MOST + 1])
        if len(few) <= MOST:
            return one_of_few(few)
    return Q(pk__in=members.values("device_id"))


def _selected_by(group: Group) -> Q:
    try:
        return query.parse_query(group.query, Q(domain=group.domain_id))
    except InvalidError as error:
        msg = f"Group {group.name!r} selects no devices, because its query is no longer valid: {error.detail}"
        raise InvalidError(msg) from error


def reported_heads(*, actor: Actor) -> Iterator[tuple[str, list[int | str]]]:
    """Yield device name and the audit-log head (epoch, size, root) that the device reports."""
    rows = permitted_rows(actor, Action.READ, Twin.objects.all(), domain="device__domain")
    heads = rows.filter(reported__head__isnull=False).values_list("device__name", "reported__head")
    yield from heads.iterator(chunk_size=1000)
