"""Keep the twins: what devices report, what operators and rollouts desire."""

from typing import Any

from django.db import transaction

from devices.errors import ReplayError
from devices.models import Device, Twin
from pki.kernel import clock, monotone
from pki.kernel.actor import Actor, Role


def report(
    *, actor: Actor, device: Device, sequence: int, components: dict[str, Any], seen: dict[str, Any] | None = None
) -> Twin:
    """Take a device's report of what it runs, which roots it trusts and what it was shown; sequence numbers only rise.

    Raises:
        ReplayError: this report, or a later one, was taken before.
    """
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        if sequence <= twin.report_sequence:
            msg = f"Report {sequence} was taken before; go on from {twin.report_sequence + 1}."
            raise ReplayError(msg, sequence=twin.report_sequence)
        twin.report_sequence = sequence
        twin.reported = {**twin.reported, "components": components, **(seen or {})}
        twin.reported_version = monotone.next_after(twin.reported_version, clock.unix())
        twin.reported_at = clock.now()
        twin.save()
    return twin


def attributes(*, actor: Actor, device: Device, values: dict[str, str], replace: bool = False) -> Twin:
    """Take the attributes that a client of another protocol reports (DDI configData)."""
    actor.require_device(device.key)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        before = {} if replace else twin.reported.get("attributes", {})
        twin.reported = {**twin.reported, "attributes": {**before, **values}}
        twin.reported_version = monotone.next_after(twin.reported_version, clock.unix())
        twin.reported_at = clock.now()
        twin.save()
    return twin


def desire(*, actor: Actor, device: Device, component: str, wish: dict[str, Any]) -> Twin:
    """Say what a component of a device shall be; rollouts and repairs do."""
    actor.require(Role.OPERATOR)
    with transaction.atomic():
        twin = Twin.objects.select_for_update().get(device=device)
        components = {**twin.desired.get("components", {}), component: wish}
        twin.desired = {**twin.desired, "components": components}
        twin.desired_version = monotone.next_after(twin.desired_version, clock.unix())
        twin.save()
    return twin
