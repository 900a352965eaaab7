"""Require an acknowledgement of a model whose inputs, outputs or labels differ from the previous one."""

from collections.abc import Iterable

from devices.models import HardwareModel
from ota.errors import RefusedBundleError
from ota.fit import ModelDifference
from ota.formats.judgement import Judgement, report_line
from ota.manifest import Manifest
from ota.models import Bundle
from ota.selectors import predecessors

_MOST_SHOWN = 8


def with_changes(slug: str, manifest: Manifest, hardware: Iterable[HardwareModel], judgement: Judgement) -> Judgement:
    """Return the judgement with the changes from the previously published model.

    Raises:
        RefusedBundleError: inputs, outputs or labels change, and ``acknowledges`` does not say so.
    """
    if manifest.kind != Bundle.Kind.MODEL:
        return judgement
    before = predecessors.models_before(slug, manifest.component, [model.pk for model in hardware], manifest.digest)
    changes = predecessors.model_changes(before, judgement.facts)
    if not changes:
        return judgement
    _demand_acknowledged(changes, manifest.acknowledges)
    said = [f"{change.text} (since {bundle})" for bundle, change in changes[:_MOST_SHOWN]]
    statements = [*judgement.statements, *(report_line("change", "muster", text) for text in said)]
    return Judgement({**judgement.facts, "changes": said}, statements)


def demand_acknowledged_changes(bundle: Bundle) -> list[str]:
    """Return the changes of a model from the previous ones, for the officers who sign it.

    Raises:
        RefusedBundleError: something changes that its ``acknowledges`` does not name.
    """
    if bundle.kind != Bundle.Kind.MODEL:
        return []
    hardware = [model.pk for model in bundle.hardware_models.all()]
    before = predecessors.models_before(bundle.domain.slug, bundle.component, hardware, bundle.digest)
    changes = predecessors.model_changes(before, bundle.facts)
    _demand_acknowledged(changes, bundle.manifest.get("acknowledges", ()))
    return [change.text for _, change in changes]


def _demand_acknowledged(changes: list[tuple[Bundle, ModelDifference]], acknowledged: Iterable[str]) -> None:
    missing = [(bundle, difference) for bundle, difference in changes if difference.acknowledgement not in acknowledged]
    if missing:
        bundle, change = missing[0]
        msg = (
            f"Compared with {bundle}, {change.text}. If the application is ready for it, put "
            f"{change.acknowledgement!r} into `acknowledges` of bundle.json. Officers see it before they sign."
        )
        raise RefusedBundleError(msg, acknowledgement=change.acknowledgement)
