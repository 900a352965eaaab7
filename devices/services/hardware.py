"""Register hardware models."""

import uuid
from collections.abc import Mapping

from django.db import transaction

from devices import metrics, runtime
from devices.models import HardwareModel
from pki.kernel import ids
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, permitted_rows, pick_one, require_action
from pki.selectors import get_domain as domain_of
from pki.services import ledger


def register_model(*, actor: Actor, name: str, vendor: str, flash_model: int = 0, arena: int = 0) -> HardwareModel:
    """Register a hardware model; identifiers are UUIDv5 as in SUIT and MCUboot.

    Args:
        actor: an operator.
        name: such as ``vib-node-2``; the class id is uuid5(vendor id, name).
        vendor: its domain name; the vendor id is uuid5(DNS, vendor).
        flash_model: bytes of flash for a machine-learning model.
        arena: bytes of tensor arena.

    Raises:
        ConflictError: the name is taken.
    """
    require_action(actor, Action.REGISTER_HARDWARE)
    if not 0 < len(name) <= 60 or not name.isprintable() or not vendor:  # noqa: PLR2004  because the column has 60
        msg = "A hardware model needs a printable name of at most 60 characters and a vendor domain."
        raise InvalidError(msg)
    ids.check_not_uuid(name)
    if flash_model < 0 or arena < 0:
        msg = "Flash and arena must be numbers of bytes, 0 or more."
        raise InvalidError(msg)
    vendor_id = uuid.uuid5(uuid.NAMESPACE_DNS, vendor)
    with transaction.atomic():
        domain = domain_of(actor.domain)
        if HardwareModel.objects.filter(domain=domain, name=name).exists():
            msg = f"A hardware model named {name} already exists."
            raise ConflictError(msg)
        model = HardwareModel.objects.create(
            domain=domain,
            name=name,
            vendor=vendor,
            vendor_id=vendor_id,
            class_id=uuid.uuid5(vendor_id, name),
            flash_model=flash_model,
            arena=arena,
        )
        detail = {"class": str(model.class_id), "flash": flash_model, "arena": arena}
        ledger.record(actor=actor, action="hardware.registered", thing=("hardware", name), detail=detail)
    return model


def classify_metrics(*, actor: Actor, model: HardwareModel, telemetry: object) -> HardwareModel:
    """Set which metrics a hardware model may report, and which must not leave the device; empty for the usual ones.

    Raises:
        InvalidError: no map of metric names to data classes.
    """
    models = permitted_rows(actor, Action.CLASSIFY_TELEMETRY, HardwareModel.objects.all())
    model_row = pick_one(models, model)
    return _change(actor, model_row, "hardware.classified", {"telemetry": metrics.parse_schema(telemetry)})


def set_runtime_profile(*, actor: Actor, model: HardwareModel, profile: object) -> HardwareModel:
    """Set the runtime profile of a hardware model; the compatibility check uses it from now on.

    Args:
        actor: an operator.
        model: the kind of device.
        profile: see ``devices.runtime.parse_runtime_profile``; empty says nothing.

    Raises:
        InvalidError: the profile is malformed; it says where.
    """
    models = permitted_rows(actor, Action.DESCRIBE_HARDWARE, HardwareModel.objects.all())
    model_row = pick_one(models, model)
    return _change(actor, model_row, "hardware.described", {"runtime": runtime.parse_runtime_profile(profile)})


def _change(
    actor: Actor, model: HardwareModel, action: str, fields: Mapping[str, Mapping[str, object]]
) -> HardwareModel:
    """Write fields of a hardware model and the entry that says so."""
    with transaction.atomic():
        model_row = HardwareModel.objects.select_for_update().get(domain__slug=actor.domain, pk=model.pk)
        for name, value in fields.items():
            setattr(model_row, name, value)
        model_row.save(update_fields=list(fields))
        ledger.record(actor=actor, action=action, thing=("hardware", model_row.name), detail=dict(fields))
    return model_row
