"""Record how much memory models take on devices: reports take precedence over predictions."""

import statistics
from collections.abc import Mapping

from django.db import transaction
from django.db.models import Q

from devices.models import Device
from devices.twin_documents import ComponentState
from ota.models import Assignment, Bundle, BundleFile, ModelArena
from pki.kernel.actor import Actor

MAX_ARENA = 1 << 40
#: devices per median: enough that a single false report changes little
MOST_DEVICES = 101


def note_arenas(*, actor: Actor, device: Device, components: Mapping[str, ComponentState]) -> None:
    """Store the memory use of each model that a device has confirmed, from its signed report."""
    actor.require_device(device.key)
    said = {
        component["sha256"]: int(component["arena"])
        for component in components.values()
        if component["confirmed"] and "arena" in component
    }
    if not said:
        return
    images = BundleFile.objects.filter(
        role=BundleFile.Role.IMAGE, sha256__in=said, bundle__domain=device.domain_id, bundle__kind=Bundle.Kind.MODEL
    )
    # Only for models assigned to this device: otherwise any device could report any model.
    given = Assignment.objects.filter(device=device, bundle__files__sha256__in=said).values("bundle")
    parts_of = Assignment.objects.filter(device=device, bundle__kind=Bundle.Kind.COMPOSITE).values_list(
        "bundle__facts", flat=True
    )
    digests = {part["digest"] for facts in parts_of for part in facts["parts"]}
    for image in images.filter(Q(bundle__in=given) | Q(bundle__digest__in=digests)):
        _note(image.bundle_id, device, said[image.sha256])


def _note(bundle: int, device: Device, arena: int) -> None:
    known = ModelArena.objects.filter(bundle_id=bundle, hardware_model_id=device.hardware_model_id).first()
    if known is not None and (known.said.get(device.key) == arena or _is_full(known, device)):
        return
    with transaction.atomic():
        row, created = ModelArena.objects.select_for_update().get_or_create(
            bundle_id=bundle,
            hardware_model_id=device.hardware_model_id,
            defaults={"said": {device.key: arena}, "median": arena},
        )
        if created or row.said.get(device.key) == arena or _is_full(row, device):
            return
        row.said = {**row.said, device.key: arena}
        row.median = int(statistics.median_high(row.said.values()))
        row.save(update_fields=["said", "median"])


def _is_full(row: ModelArena, device: Device) -> bool:
    return device.key not in row.said and len(row.said) >= MOST_DEVICES
