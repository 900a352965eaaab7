"""Compatibility of bundles with hardware models, as both are now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db.models import Max, QuerySet

from devices import selectors as devices
from devices.models import HardwareModel
from ota import fit
from ota.eligibility import ObstacleKind, Reason, incompatibility
from ota.facts import BundleFacts
from ota.models import Bundle, Release
from ota.selectors import parts
from ota.selectors.bundles import BundleFilter, list_bundles
from pki.kernel.actor import Actor

MOST = 50
#: least number of reports of a model's arena: with one or two, a false report would decide
ENOUGH = 3
#: (component, internal id of a hardware model) to the highest counter that is published
Released = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Row:
    """One bundle against all hardware models.

    Args:
        bundle: the bundle.
        cells: for each hardware model why the bundle is incompatible; None where it is not for that model.
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


def current_profile(model: HardwareModel) -> fit.ModelCapacity:
    """Return the current resources of a hardware model for machine-learning models."""
    return fit.ModelCapacity(model.flash_model, model.arena, model.runtime)


def incompatibility_reasons(bundle: Bundle, model: HardwareModel, known: Released | None = None) -> list[Reason]:
    """Return why a bundle is incompatible with a hardware model; empty if it is compatible.

    Args:
        bundle: of any kind.
        model: that it is for.
        known: what ``released_counters`` says of the domain, where many bundles are compared.
    """
    if bundle.kind == Bundle.Kind.COMPOSITE:
        return [
            reason for part in parts.parts_at_hand(bundle) for reason in incompatibility_reasons(part, model, known)
        ]
    reasons = fit.fit_verdict(bundle.kind, bundle.format, bundle_facts(bundle, model), current_profile(model))
    return [*reasons, *_firmware(bundle, model, known)] if bundle.kind == Bundle.Kind.MODEL else reasons


def released_counters(slug: str) -> Released:
    """Return the highest security counter that is published, by component and hardware model (internal id)."""
    rows = Bundle.objects.filter(domain__slug=slug, release__state=Release.State.PUBLISHED)
    counted = rows.values_list("component", "hardware_models").annotate(highest=Max("security_counter"))
    return {(component, model): highest for component, model, highest in counted.order_by()}


def bundle_facts(bundle: Bundle, model: HardwareModel) -> BundleFacts:
    """Return the facts of a bundle; arena figures that devices of this hardware model report take precedence."""
    said = next((one for one in bundle.arenas.all() if one.hardware_model_id == model.pk), None)
    if said is None or "arena" not in bundle.facts or len(said.said) < ENOUGH:
        return BundleFacts(**bundle.facts)
    arena = bundle.facts["arena"]
    need = max(said.median, arena.get("measured", 0))
    return {**bundle.facts, "arena": {**arena, "need": need, "source": "reported"}}


def _firmware(bundle: Bundle, model: HardwareModel, known: Released | None) -> Iterator[Reason]:
    """Name components that must run beside it in a newer version than any release for this hardware has."""
    if not (requirements := bundle.manifest.get("requires")):
        return
    published = released_counters(bundle.domain.slug) if known is None else known
    for requirement in requirements:
        highest = published.get((requirement["component"], model.pk))
        if highest is not None and highest < requirement["min_counter"]:
            yield incompatibility(
                ObstacleKind.NEEDS_FIRMWARE, requirement["min_counter"], highest, "released", requirement["component"]
            )


def list_model_bundles(*, actor: Actor) -> QuerySet[Bundle]:
    """Return the bundles of models, newest first, with their hardware models."""
    return list_bundles(actor=actor, wanted=BundleFilter(kind=Bundle.Kind.MODEL))


def fit_matrix(*, actor: Actor) -> Matrix:
    """Return the newest bundles of models against the hardware models that any of them is for."""
    bundles, known = list(list_model_bundles(actor=actor)[:MOST]), released_counters(actor.domain)
    named = {model.pk for bundle in bundles for model in bundle.hardware_models.all()}
    columns = tuple(model for model in devices.hardware_models(actor=actor) if model.pk in named)
    rows = tuple(Row(bundle, tuple(_cell(bundle, model, known) for model in columns)) for bundle in bundles)
    return Matrix(columns, rows)


def _cell(bundle: Bundle, model: HardwareModel, known: Released) -> list[Reason] | None:
    named = {one.pk for one in bundle.hardware_models.all()}
    return incompatibility_reasons(bundle, model, known) if model.pk in named else None
