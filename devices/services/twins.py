"""Update the twins: the reported state of devices, and the desired state from operators and rollouts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection, transaction

from devices.contract import configuration
from devices.errors import ReplayError
from devices.models import Device, Twin
from devices.twin_documents import ComponentState, SeenByDevice, UpdateProof, trusted_root_marks
from pki.kernel import clock, monotone
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, PreconditionError, UnconditionalError
from pki.kernel.permissions import Action, permitted_rows, require_action
from pki.models import prepared_sql
from pki.services import changes, ledger

#: both keep what else ``desired`` holds; names of components have no quotes (``ota.manifest``)
_DESIRE_SQLITE = f"""
    UPDATE {Twin._meta.db_table} SET desired = json_set(desired, %s, json_set(%s, '$.action', v.column2)),
        desired_version = max(desired_version + 1, %s) FROM (
"""  # noqa: S608  because the name is Django's own
_DESIRE_POSTGRESQL = f"""
    UPDATE {Twin._meta.db_table} SET desired = desired || jsonb_build_object('components',
        coalesce(desired->'components', '{{}}'::jsonb) || jsonb_build_object(%s::text,
            %s::jsonb || jsonb_build_object('action', v.column2))),
        desired_version = greatest(desired_version + 1, %s) FROM (
"""  # noqa: S608  because the name is Django's own
_OF_DEVICES = ") AS v WHERE device_id = v.column1"
#: attributes of a client of another protocol that are kept of a device (hawkBit's quota)
MOST_ATTRIBUTES = 100


def store_report(
    *,
    actor: Actor,
    device: Device,
    sequence: int,
    components: Mapping[str, ComponentState],
    seen: SeenByDevice | None = None,
) -> Twin:
    """Store a device's report: current images, trusted roots and received heads; sequence numbers only increase.

    Raises:
        ReplayError: this report, or a later one, was taken before.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        if sequence <= twin.report_sequence:
            msg = f"Report {sequence} was already accepted. Continue from {twin.report_sequence + 1}."
            raise ReplayError(msg, sequence=twin.report_sequence)
        twin.report_sequence = sequence
        if seen and "anchors" in seen and seen["anchors"] != twin.reported.get("anchors"):
            Device.objects.filter(pk=device.pk).update(trusted_roots=trusted_root_marks(seen["anchors"]))
        twin.reported = {**twin.reported, "components": dict(components), **(seen or {})}
        twin.reported_version = monotone.next_after(twin.reported_version, clock.unix())
        twin.reported_at = clock.now()
        twin.save()
    return twin


def store_evidence(*, actor: Actor, device: Device, proof: UpdateProof) -> None:
    """Store evidence of how a device verifies updates; ``ota.trust.protection`` grades it.

    Args:
        actor: the device.
        device: the one that is meant.
        proof: which protocol it speaks, and when it last asked for what.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        twin.reported = {**twin.reported, "proof": proof}
        twin.reported.pop("protection", None)
        twin.save(update_fields=["reported"])
    device.twin.reported = twin.reported


@dataclass(frozen=True, slots=True)
class Attributes:
    """Change of the attributes that a client of another protocol reports.

    Args:
        values: attribute to value, clean.
        replace: whether other attributes are removed.
        remove: attributes to remove.
        altered: attributes whose value was cleaned or cut; they are shown as such.
    """

    values: dict[str, str]
    replace: bool = False
    remove: frozenset[str] = frozenset()
    altered: frozenset[str] = frozenset()


def store_attributes(*, actor: Actor, device: Device, change: Attributes) -> Twin:
    """Store the attributes that a client of another protocol reports (DDI configData).

    Raises:
        InvalidError: with these the device would have too many.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        before = {} if change.replace else twin.reported.get("attributes", {})
        after = {name: value for name, value in {**before, **change.values}.items() if name not in change.remove}
        if len(after) > MOST_ATTRIBUTES:
            msg = (
                f"`data`: a device may have at most {MOST_ATTRIBUTES} attributes; with these it would have "
                f"{len(after)}."
            )
            raise InvalidError(msg)
        altered = (set(twin.reported.get("altered", [])) - set(change.values)) & set(after) | change.altered
        twin.reported = {**twin.reported, "attributes": after, "altered": sorted(altered)}
        if not altered:
            del twin.reported["altered"]
        twin.reported_version = monotone.next_after(twin.reported_version, clock.unix())
        twin.reported_at = clock.now()
        twin.save()
    return twin


def set_target(*, actor: Actor, device: Device, component: str, wish: dict[str, object]) -> Twin:
    """Set the target of a component of a device; rollouts and repairs do this."""
    rows = permitted_rows(actor, Action.SET_TARGET, Twin.objects.all(), "device__domain")
    with transaction.atomic():
        twin = rows.select_for_update(of=("self",)).get(device=device)
        components = {**twin.desired.get("components", {}), component: wish}
        twin.desired = {**twin.desired, "components": components}
        twin.desired_version = monotone.next_after(twin.desired_version, clock.unix())
        twin.save()
    return twin


def desire_many(*, actor: Actor, component: str, wish: dict[str, object], actions: Mapping[int, int]) -> None:
    """Set the target of a component of many devices, in the caller's transaction; rollouts do this.

    The caller has checked the right to the devices themselves: only the action is checked here.

    Args:
        actor: an operator.
        component: name.
        wish: the target, without the action.
        actions: internal id of a device of the actor's domain to the action that installs it.
    """
    require_action(actor, Action.SET_TARGET)
    if postgresql := connection.vendor == "postgresql":
        # Locked in one order before one statement takes them in any.
        twins = Twin.objects.select_for_update().filter(device_id__in=list(actions))
        list(twins.order_by("device_id").values_list("id"))
    before = _DESIRE_POSTGRESQL if postgresql else _DESIRE_SQLITE
    path = component if postgresql else f'$.components."{component}"'
    rows: list[list[object]] = [[device, action] for device, action in actions.items()]
    prepared = prepared_sql.PreparedInsert(before, rows, _OF_DEVICES, ("bigint", "bigint"))
    prepared_sql.write_many(prepared, path, json.dumps(wish), clock.unix())


def desire_config(*, actor: Actor, device: Device, patch: dict[str, object], if_match: str) -> Twin:
    """Change a device's desired configuration by JSON Merge Patch (RFC 7396).

    Args:
        actor: an operator.
        device: of the actor's domain.
        patch: null removes a name.
        if_match: names the version of the configuration that the caller has read.

    Raises:
        UnconditionalError: it names none.
        InvalidError: too large, or it names what only a signed ``config`` bundle may change.
        PreconditionError: it was changed meanwhile.
    """
    rows = permitted_rows(actor, Action.CONFIGURE_DEVICE, Twin.objects.all(), "device__domain")
    seen = seen_version("d", if_match)
    with transaction.atomic():
        twin = rows.select_for_update(of=("self",)).get(device=device)
        _demand_seen("d", twin.config_version, seen)
        config = configuration.merge_patch(twin.desired.get("config", {}), patch)
        configuration.check_configuration(config)
        twin.desired = {**twin.desired, "config": config}
        twin.config_version = monotone.next_after(twin.config_version, clock.unix())
        twin.desired_version = monotone.next_after(twin.desired_version, clock.unix())
        twin.save(update_fields=["desired", "config_version", "desired_version"])
        changes.note_changes(device.key)
        detail = {"names": sorted(patch)[:20], "version": twin.config_version}
        ledger.record(actor=actor, action="twin.config", thing=("device", device.key), detail=detail)
    return twin


def note_fetched(*, actor: Actor, device: Device, version: int) -> None:
    """Record which configuration version a device has; nothing is written if it is unchanged."""
    actor.require_device(device.key)
    if device.twin.config_fetched < version:
        Twin.objects.filter(device=device, config_fetched__lt=version).update(config_fetched=version)
        changes.note_changes(device.key)


def reported_config(*, actor: Actor, device: Device, config: dict[str, object], seen: int) -> Twin:
    """Store the configuration that a device reports.

    Raises:
        InvalidError: too large or too deep.
        PreconditionError: the device does not know its own newest report: it may be an older copy.
    """
    actor.require_device(device.key)
    configuration.check_configuration(config)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        _demand_seen("r", twin.reported_version, seen)
        twin.reported = {**twin.reported, "config": config}
        twin.reported_version = monotone.next_after(twin.reported_version, clock.unix())
        twin.reported_at = clock.now()
        if config == twin.desired.get("config", {}) and twin.config_fetched < twin.config_version:
            twin.config_fetched = twin.config_version
            changes.note_changes(device.key)
        twin.save(update_fields=["reported", "reported_version", "reported_at", "config_fetched"])
    return twin


def section_tag(section: str, version: int) -> str:
    """Return the entity tag of a section: its letter and version."""
    return f'"{section}{version}"'


def parse_entity_tags(field: str) -> set[str]:
    """Return the entity tags of an If-Match or If-None-Match field."""
    return {part.strip().removeprefix("W/") for part in field.split(",") if part.strip()}


def seen_version(section: str, if_match: str) -> int:
    """Return the version that an If-Match field names.

    Raises:
        UnconditionalError: there is no such field; a write names the version that it saw.
        PreconditionError: it names no version of this section.
    """
    tags = parse_entity_tags(if_match)
    if not tags:
        msg = f'Send the version that you have read: If-Match: "{section}N", the ETag of your last GET.'
        raise UnconditionalError(msg)
    numbers = [tag[2:-1] for tag in tags if tag.startswith(f'"{section}') and tag[2:-1].isdecimal()]
    return int(numbers[0][:19]) if numbers else -1


def _demand_seen(section: str, version: int, seen: int) -> None:
    if version != seen:
        msg = "It changed after you read it. Read it again, then repeat your change."
        raise PreconditionError(msg, tag=section_tag(section, version))


def twin_delta(twin: Twin) -> dict[str, object]:
    """Return differences of desired and reported state: component or configuration name -> {want, have}. Pure."""
    delta: dict[str, object] = {}
    running = twin.reported.get("components", {})
    for name, wish in twin.desired.get("components", {}).items():
        have = running.get(name, {})
        if wish.get("version") != have.get("version"):
            delta[f"components.{name}"] = {"want": wish.get("version"), "have": have.get("version")}
    has = twin.reported.get("config", {})
    for name, value in twin.desired.get("config", {}).items():
        if has.get(name) != value:
            delta[f"config.{name}"] = {"want": value, "have": has.get(name)}
    return delta
