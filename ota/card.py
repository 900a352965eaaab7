"""The model card in an ML-BOM (CycloneDX 1.5 and later): what its author says of a model, cut to what is read. Pure."""

from collections.abc import Mapping

from pki.kernel import intake

_LONGEST, _MOST = 300, 20
_KIND = "machine-learning-model"


def card_of(value: Mapping[str, object]) -> dict[str, object]:
    """Return the card of the model that a bill is about; empty when it has none.

    Args:
        value: a CycloneDX document.

    Raises:
        InvalidError, KeyError: it is malformed.
    """
    model = _model(value)
    if model is None:
        return {}
    told = map_in(model, "modelCard")
    parameters, considered = map_in(told, "modelParameters"), map_in(told, "considerations")
    datasets = maps_in(parameters, "datasets")
    metrics = maps_in(map_in(told, "quantitativeAnalysis"), "performanceMetrics")
    card = {
        "task": printable_text(parameters.get("task", "")),
        "architecture": printable_text(
            parameters.get("modelArchitecture") or parameters.get("architectureFamily") or ""
        ),
        "datasets": [
            printable_text(dataset.get("name") or dataset.get("ref") or "undisclosed") for dataset in datasets[:_MOST]
        ],
        "metrics": [
            {"type": printable_text(metric["type"]), "value": printable_text(metric["value"])}
            for metric in metrics[:_MOST]
        ],
        "uses": [printable_text(row) for row in _rows(considered, "useCases")],
        "limits": [printable_text(row) for row in _rows(considered, "technicalLimitations")],
        "licences": [component_licence(one) or "unknown" for one in maps_in(model, "licenses")[:_MOST]],
        "ancestors": [_ancestor(one) for one in maps_in(map_in(model, "pedigree"), "ancestors")[:_MOST]],
    }
    return {name: one for name, one in card.items() if one}


def model_digests(value: Mapping[str, object]) -> set[str]:
    """Return the SHA-256 digests that the bill gives for the model itself."""
    return sha256_in(_model(value) or {})


def sha256_in(component: Mapping[str, object]) -> set[str]:
    """Return the SHA-256 digests that a component gives for itself, in lower-case hex."""
    return {str(digest["content"]).lower() for digest in maps_in(component, "hashes") if digest["alg"] == "SHA-256"}


def _model(value: Mapping[str, object]) -> dict[str, object] | None:
    """Return the component that is the model: the bill's subject, or the only model in it."""
    subject = map_in(map_in(value, "metadata"), "component")
    if subject.get("type") == _KIND:
        return subject
    models = [component for component in maps_in(value, "components") if component.get("type") == _KIND]
    return models[0] if len(models) == 1 else None


def map_in(value: Mapping[str, object], name: str) -> dict[str, object]:
    """Return a map within a document; an empty one where it is not there.

    Raises:
        InvalidError: something else is there.
    """
    return intake.map_of(value.get(name, {}), name)


def maps_in(value: Mapping[str, object], name: str) -> list[dict[str, object]]:
    """Return a list of maps within a document; an empty one where it is not there.

    Raises:
        InvalidError: something else is there.
    """
    return [intake.map_of(item, name) for item in intake.list_of(value.get(name, []), name)]


def _rows(value: Mapping[str, object], name: str) -> list[object]:
    return intake.list_of(value.get(name, []), name)[:_MOST]


def printable_text(value: object) -> str:
    """Return what can be shown and stored anywhere: printable, of a bounded length."""
    return "".join(char if char.isprintable() else " " for char in str(value))[:_LONGEST]


def component_licence(entry: Mapping[str, object]) -> str:
    """Return the licence that an entry of CycloneDX names, by expression, id or name; empty for none.

    Raises:
        InvalidError, KeyError: it is malformed.
    """
    if "expression" in entry:
        return printable_text(entry["expression"])
    named = intake.map_of(entry["license"], "license")
    return printable_text(named.get("id") or named.get("name") or "")


def _ancestor(ancestor: Mapping[str, object]) -> dict[str, str]:
    digest = next((str(entry["content"]) for entry in maps_in(ancestor, "hashes") if entry["alg"] == "SHA-256"), "")
    return {
        "name": printable_text(ancestor["name"]),
        "version": printable_text(ancestor.get("version", "")),
        "sha256": digest.lower()[:64],
    }
