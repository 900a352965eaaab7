"""Which bundles fit which hardware models, by what both are now."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Max, QuerySet

from devices import selectors as devices
from devices.models import HardwareModel
from ota import fit
from ota.fit import Reason
from ota.models import Bundle, Release
from ota.selectors import parts
from ota.selectors.bundles import bundles

MOST = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One bundle against all hardware models.

    Args:
        bundle: the bundle.
        cells: for each hardware model why the bundle does not fit; None where the bundle is not for it.
    """

    bundle: Bundle
    cells: tuple[list[Reason] | None, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Bundles against hardware models.

    Args:
        models: the columns.
        rows: the newest models (bundles) first.
    """

    models: tuple[HardwareModel, ...]
    rows: tuple[Row, ...]


def profile(model: HardwareModel) -> fit.Profile:
    """Return what a hardware model offers to models now."""
    return fit.Profile(model.flash_model, model.arena, model.runtime)


def reasons(bundle: Bundle, model: HardwareModel) -> list[Reason]:
    """Return why a bundle does not fit a hardware model; nothing means that it fits."""
    if bundle.kind == Bundle.Kind.COMPOSITE:
        return [one for part in parts.of(bundle) for one in reasons(part, model)]
    found = fit.verdict(bundle.kind, bundle.format, facts(bundle, model), profile(model))
    return [*found, *_firmware(bundle, model)] if bundle.kind == Bundle.Kind.MODEL else found


def facts(bundle: Bundle, model: HardwareModel) -> dict[str, Any]:
    """Return what was found in a bundle; what devices of this hardware model took of their arena counts most."""
    said = next((one for one in bundle.arenas.all() if one.hardware_model_id == model.pk), None)
    if said is None or "arena" not in bundle.facts:
        return dict(bundle.facts)
    return {**bundle.facts, "arena": {**bundle.facts["arena"], "need": said.median, "source": "reported"}}


def _firmware(bundle: Bundle, model: HardwareModel) -> Iterator[Reason]:
    """Name components that must run beside it in a newer version than any release for this hardware has."""
    for one in bundle.manifest.get("requires", []):
        released = Bundle.objects.filter(
            domain=bundle.domain_id, component=one["component"], release__state=Release.State.PUBLISHED
        )
        highest = released.filter(hardware_models=model).aggregate(highest=Max("security_counter"))["highest"]
        if highest is not None and highest < one["min_counter"]:
            yield Reason("needs_firmware", one["min_counter"], highest, "released", one["component"])


def models(slug: str) -> QuerySet[Bundle]:
    """Return a domain's bundles of models, newest first, with their hardware models."""
    return bundles(slug).filter(kind=Bundle.Kind.MODEL)


def matrix(slug: str) -> Matrix:
    """Return the newest bundles of models of a domain against the hardware models that any of them is for."""
    found = list(models(slug)[:MOST])
    named = {model.pk for bundle in found for model in bundle.hardware_models.all()}
    columns = tuple(model for model in devices.hardware_models(slug) if model.pk in named)
    rows = tuple(Row(bundle, tuple(_cell(bundle, model) for model in columns)) for bundle in found)
    return Matrix(columns, rows)


def _cell(bundle: Bundle, model: HardwareModel) -> list[Reason] | None:
    named = {one.pk for one in bundle.hardware_models.all()}
    return reasons(bundle, model) if model.pk in named else None
