"""Move devices through their lifecycle; the table below is the only definition of allowed transitions."""

from django.db import transaction

from devices.contact_words import OUT_OF_SERVICE
from devices.errors import LifecycleError
from devices.models import (
    Device,
    EnrolmentToken,
    GroupMember,
    OscoreContext,
    PreRegistration,
    Twin,
)
from devices.names import AUDIENCES, MOST_TAGS, TAG
from devices.services import fleet_counts, retention
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.kernel.permissions import Action, permitted_rows, pick_one, require_on
from pki.selectors import certificates_of
from pki.services import certificates, changes, ledger

State = Device.State
#: gateways behind gateways
DEEPEST = 8
PERSONAL = frozenset({"name", "owner", "site", "tags", "address", "behaviour", "attributes"})
#: action -> (states it starts from, state it leads to)
STEPS: dict[str, tuple[frozenset[str], str]] = {
    "suspend": (frozenset({State.ACTIVE}), State.SUSPENDED),
    "resume": (frozenset({State.SUSPENDED}), State.ACTIVE),
    "return": (frozenset({State.ACTIVE, State.SUSPENDED}), State.RETURNED),
    "retire": (frozenset({State.PENDING, State.ACTIVE, State.SUSPENDED, State.RETURNED}), State.RETIRED),
}
_RIGHTS = {
    "suspend": Action.SUSPEND_DEVICE,
    "resume": Action.RESUME_DEVICE,
    "return": Action.RETURN_DEVICE,
    "retire": Action.RETIRE_DEVICE,
}


def describe_device(
    *,
    actor: Actor,
    device: Device,
    site: str | None = None,
    owner: str | None = None,
    tags: list[str] | None = None,
    gateway: str | None = None,
) -> Device:
    """Set a device's site, owner, tags and gateway; arguments that are not given leave their value unchanged.

    Args:
        actor: an operator.
        device: which one.
        site: of people's choosing, at most 100 characters.
        owner: at most 200 characters; it may be personal data.
        tags: plain words; the whole new list.
        gateway: name of the gateway that connects it; empty for none.

    Raises:
        InvalidError: a tag is no plain word, a text is too long, or a device would be its own gateway.
    """
    devices = permitted_rows(actor, Action.DESCRIBE_DEVICE, Device.objects.all())
    with transaction.atomic():
        locked = pick_one(devices.select_for_update(of=("self",)), device)
        if tags is not None:
            locked.tags = _tags(tags)
        if site is not None:
            locked.site = _short(site, 100)
        if owner is not None:
            locked.owner = _short(owner, 200)
        if gateway is not None:
            locked.parent = _gateway(locked, gateway)
        locked.save(update_fields=["site", "owner", "tags", "parent"])
        named = {"site": site, "owner": owner, "tags": tags, "gateway": gateway}
        # The names of the fields, not their values: the audit log keeps no personal data.
        changed = sorted(name for name, value in named.items() if value is not None)
        ledger.record(actor=actor, action="device.described", thing=("device", locked.key), detail={"fields": changed})
    return locked


def _tags(tags: list[str]) -> list[str]:
    if len(tags) > MOST_TAGS or not all(TAG.fullmatch(tag) for tag in tags):
        msg = (
            f"At most {MOST_TAGS} tags are allowed, each with at most 40 lower-case letters, digits and . _ : - "
            "characters."
        )
        raise InvalidError(msg)
    return sorted(set(tags))


def use_as(*, actor: Actor, device: Device, audience: str) -> Device:
    """Set a device's audience: it receives only bundles signed for it, and refuses others itself.

    Args:
        actor: an operator.
        device: which one.
        audience: lab, canary or production.

    Raises:
        InvalidError: it is none of these.
    """
    devices = permitted_rows(actor, Action.CHOOSE_AUDIENCE, Device.objects.all())
    if audience not in AUDIENCES:
        msg = f"An audience must be one of {', '.join(AUDIENCES)}."
        raise InvalidError(msg)
    with transaction.atomic():
        locked = pick_one(devices.select_for_update(of=("self",)), device)
        locked.audience = audience
        locked.save(update_fields=["audience"])
        ledger.record(
            actor=actor, action="device.audience", thing=("device", locked.key), detail={"audience": audience}
        )
    return locked


def _short(text: str, longest: int) -> str:
    if len(text) > longest or not (text.isprintable() or not text):
        msg = f"Use printable text of at most {longest} characters."
        raise InvalidError(msg)
    return text


def _gateway(device: Device, name: str) -> Device | None:
    """Return the gateway for a device; never the device itself, directly or indirectly."""
    if not name:
        return None
    gateway = Device.objects.filter(domain_id=device.domain_id, name=name).first()
    if gateway is None:
        msg = f"There is no device {name[:80]!r}."
        raise InvalidError(msg)
    above: Device | None = gateway
    for _ in range(DEEPEST):
        if above is None:
            return gateway
        if above.pk == device.pk:
            break
        above = above.parent
    msg = f"{device.name} would be its own gateway, or be behind more than {DEEPEST} gateways."
    raise InvalidError(msg)


def suspend_device(*, actor: Actor, device: Device) -> Device:
    """Suspend a device: it may do nothing until it is resumed."""
    return _step("suspend", actor, device)


def resume_device(*, actor: Actor, device: Device) -> Device:
    """Resume a suspended device."""
    return _step("resume", actor, device)


def send_back(*, actor: Actor, device: Device) -> Device:
    """Take a device out of service for repair or stock: its certificates are revoked, a new token brings it back."""
    with transaction.atomic():
        device = _step("return", actor, device)
        _revoke_all(actor, device, "cessationOfOperation")
    return device


def retire_device(*, actor: Actor, device: Device) -> Device:
    """Retire a device permanently: its certificates are revoked."""
    with transaction.atomic():
        device = _step("retire", actor, device)
        _revoke_all(actor, device, "cessationOfOperation")
    return device


def decommission(*, actor: Actor, device: Device, confirmed: str) -> Device:
    """Retire a device and erase its personal data: name, owner, site, tags, addresses, behaviour.

    The audit log keeps commitments to it; without the device's salt no guess can be checked against them.

    Args:
        actor: a security officer.
        device: to decommission.
        confirmed: its name, typed again, because it cannot be undone.

    Raises:
        InvalidError: it is another name.
    """
    device = require_on(actor, Action.ERASE_DEVICE, Device.objects.all(), device)
    if confirmed != device.name:
        msg = f"Enter the device's name, {device.name}, to confirm. This cannot be undone."
        raise InvalidError(msg)
    with transaction.atomic():
        if device.state != State.RETIRED:
            device = retire_device(actor=actor, device=device)
        thing = ("device", device.key)
        ledger.record(actor=actor, action="device.erased", thing=thing, detail={"fields": sorted(PERSONAL)})
        EnrolmentToken.objects.filter(used_by=device).update(device_name="")
        PreRegistration.objects.filter(used_by=device).update(device_name=f"erased-{device.key[-12:]}")
        Twin.objects.filter(device=device).update(reported={}, desired={})
        GroupMember.objects.filter(device=device).delete()
        OscoreContext.objects.filter(device=device).delete()
        device.name = f"erased-{device.key[-12:]}"
        device.owner, device.site, device.tags, device.salt, device.trusted_roots = "", "", [], b"", None
        device.quarantine_reason = "erased" if device.quarantined else ""
        device.save(update_fields=["name", "owner", "site", "tags", "salt", "trusted_roots", "quarantine_reason"])
    retention.forget_telemetry([device.pk])
    return device


def _revoke_all(actor: Actor, device: Device, reason: str) -> None:
    for certificate in certificates_of(actor=actor, subject_key=device.key):
        if certificate.revoked_at is None:
            certificates.revoke(actor=actor, fingerprint=certificate.fingerprint, reason=reason)


def _step(act: str, actor: Actor, device: Device) -> Device:
    sources, target = STEPS[act]
    with transaction.atomic():
        locked = require_on(actor, _RIGHTS[act], Device.objects.select_for_update(of=("self",)), device)
        if locked.state not in sources:
            names = " or ".join(sorted(sources))
            msg = f"The action {act} requires a device that is {names}; this one is {locked.state}."
            raise LifecycleError(msg)
        locked.state = target
        if target == State.RETIRED:
            fleet_counts.note_count(locked.domain_id, locked.presence, -1)
            locked.presence = OUT_OF_SERVICE
        locked.save(update_fields=["state", "presence"])
        changes.note_changes(locked.key)
        ledger.record(actor=actor, action=f"device.{act}", thing=("device", locked.key))
    return locked
