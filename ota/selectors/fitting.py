"""Which bundles fit which hardware models, by what both are now."""

from dataclasses import dataclass

from django.db.models import QuerySet

from devices import selectors as devices
from devices.models import HardwareModel
from ota import fit
from ota.fit import Reason
from ota.models import Bundle
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
    return fit.verdict(bundle.kind, bundle.format, bundle.facts, profile(model))


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
