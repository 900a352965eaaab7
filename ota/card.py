"""The model card in an ML-BOM (CycloneDX 1.5 and later): what its author says of a model, cut to what is read. Pure."""

from typing import Any

_LONGEST, _MOST = 300, 20
_KIND = "machine-learning-model"


def of(value: Any) -> dict[str, Any]:
    """Return the card of the model that a bill is about; empty when it has none.

    Args:
        value: a CycloneDX document.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is malformed.
    """
    model = _model(value)
    if model is None:
        return {}
    told = model.get("modelCard", {})
    parameters, considered = told.get("modelParameters", {}), told.get("considerations", {})
    metrics = told.get("quantitativeAnalysis", {}).get("performanceMetrics", [])
    found = {
        "task": text(parameters.get("task", "")),
        "architecture": text(parameters.get("modelArchitecture") or parameters.get("architectureFamily") or ""),
        "datasets": [text(one.get("name") or one.get("ref") or "undisclosed") for one in _rows(parameters, "datasets")],
        "metrics": [{"type": text(one["type"]), "value": text(one["value"])} for one in metrics[:_MOST]],
        "uses": [text(one) for one in _rows(considered, "useCases")],
        "limits": [text(one) for one in _rows(considered, "technicalLimitations")],
        "licences": [_licence(one) for one in _rows(model, "licenses")],
        "ancestors": [_ancestor(one) for one in _rows(model.get("pedigree", {}), "ancestors")],
    }
    return {name: one for name, one in found.items() if one}


def digests(value: Any) -> set[str]:
    """Return the SHA-256 digests that the bill gives for the model itself."""
    model = _model(value) or {}
    return {str(one["content"]).lower() for one in model.get("hashes", []) if one["alg"] == "SHA-256"}


def _model(value: Any) -> Any:
    """Return the component that is the model: the bill's subject, or the only model in it."""
    subject = value.get("metadata", {}).get("component", {})
    if subject.get("type") == _KIND:
        return subject
    found = [one for one in value.get("components", []) if one.get("type") == _KIND]
    return found[0] if len(found) == 1 else None


def _rows(value: Any, name: str) -> list[Any]:
    return list(value.get(name, []))[:_MOST]


def text(value: object) -> str:
    """Return what can be shown and stored anywhere: printable, of a bounded length."""
    return "".join(char if char.isprintable() else " " for char in str(value))[:_LONGEST]


def _licence(entry: Any) -> str:
    if "expression" in entry:
        return text(entry["expression"])
    return text(entry["license"].get("id") or entry["license"].get("name") or "unknown")


def _ancestor(one: Any) -> dict[str, str]:
    digest = next((str(entry["content"]) for entry in one.get("hashes", []) if entry["alg"] == "SHA-256"), "")
    return {"name": text(one["name"]), "version": text(one.get("version", "")), "sha256": digest.lower()[:64]}
