"""The fit gate: what a model needs against what a hardware model has, with stable codes and numbers. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import TypedDict

from ota.eligibility import ObstacleKind, Reason, incompatibility
from ota.facts import BundleFacts, PortFacts
from ota.fit import exchange

#: format of a bundle -> runtimes that can run it
RUNS = {"tflite": ("tflm", "litert"), "onnx": ("onnx",)}


class RuntimeProfile(TypedDict, total=False):
    """What a firmware can run, as ``devices.runtime`` has checked it and says it."""

    runtime: str
    schema_max: int
    ops: str | Mapping[str, int]
    custom_ops: list[str]
    dtypes: list[str]
    kernel_factor: str
    inputs: list[PortFacts]
    outputs: list[PortFacts]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class ModelCapacity:
    """What a hardware model offers to models, in bytes; 0 means none.

    Args:
        flash_model: flash for one model file.
        arena: memory for its tensors while it runs.
        runtime: what its firmware can run (``devices.runtime``); empty compares nothing of that.
    """

    flash_model: int
    arena: int
    runtime: RuntimeProfile = field(default_factory=RuntimeProfile)


def arena_margin(predicted: int) -> int:
    """Return the arena to demand for a predicted one: a tenth more, and at least 512 bytes more."""
    return max((predicted * 11 + 9) // 10, predicted + 512)


def fit_verdict(kind: str, form: str, facts: BundleFacts, profile: ModelCapacity) -> list[Reason]:
    """Return why a bundle is incompatible; an empty list means that it is compatible.

    Args:
        kind: of the bundle; only models have needs that can be checked.
        form: its format, such as ``tflite``.
        facts: of the inspection: ``flash``, ``arena`` with ``need`` and ``source``, ``schema``, ``operators``, ….
        profile: what the hardware model offers.
    """
    if kind != "model":
        return []
    inner = facts.get("inner", form)  # of a signed folder: what the model in it is
    return [*_memory(facts, profile), *_runtime(inner, facts, profile.runtime), *_exchange(facts, profile.runtime)]


def _memory(facts: BundleFacts, profile: ModelCapacity) -> Iterator[Reason]:
    if facts["flash"] > profile.flash_model:
        yield incompatibility(ObstacleKind.FLASH_EXCEEDED, facts["flash"], profile.flash_model)
    arena = facts["arena"]
    if arena["source"] == "not measured" and profile.arena:
        yield incompatibility(ObstacleKind.NOT_MEASURED, 0, profile.arena, arena["source"])
    need = arena["need"]
    if arena["source"] in {
        "predicted",
        "measured",
    }:  # for reference kernels; what an author declares is for this hardware
        factor = Decimal(profile.runtime.get("kernel_factor", "1"))
        need = int((need * factor).to_integral_value(ROUND_CEILING))
    if need > profile.arena:
        yield incompatibility(ObstacleKind.ARENA_EXCEEDED, need, profile.arena, arena["source"])


def _runtime(form: str, facts: BundleFacts, runtime: RuntimeProfile) -> Iterator[Reason]:
    """Compare what the firmware's interpreter must know; a runtime that does not match at all says it alone."""
    runs = runtime.get("runtime")
    if runs and form in RUNS and runs not in RUNS[form]:
        yield incompatibility(ObstacleKind.RUNTIME_MISMATCH, form, runs)
        return
    schema = facts.get("schema") or facts.get("opset", {}).get("ai.onnx", 0)
    if "schema_max" in runtime and schema > runtime["schema_max"]:
        yield incompatibility(ObstacleKind.SCHEMA_UNSUPPORTED, schema, runtime["schema_max"])
    yield from _trial(facts, runtime)
    yield from _operators(facts, runtime.get("ops", "all"))
    custom = facts.get("custom_operators", facts.get("custom", ()))
    if "ops" in runtime or "custom_ops" in runtime:
        yield from (incompatibility(ObstacleKind.CUSTOM_OP, name) for name in custom if not _has_custom(name, runtime))
    if "dtypes" in runtime:
        # facts of an ONNX model that an older Muster inspected have the types of its ports only
        used = facts.get("dtypes") or {port["dtype"] for port in _ports(facts, "inputs", "outputs")}
        yield from (
            incompatibility(ObstacleKind.DTYPE_UNSUPPORTED, name)
            for name in sorted(used)
            if name not in runtime["dtypes"]
        )


def _trial(facts: BundleFacts, runtime: RuntimeProfile) -> Iterator[Reason]:
    """Use the reference interpreter's prediction where the firmware has that one and no operators that are its own."""
    trial = facts.get("trial")
    custom = facts.get("custom_operators", ())
    own = bool(custom) and all(name in runtime.get("custom_ops", ()) for name in custom)
    if trial and not trial["runs"] and runtime.get("runtime", "tflm") == "tflm" and not own:
        yield incompatibility(ObstacleKind.DOES_NOT_RUN, trial["message"], source=trial["tool"])


def _has_custom(name: str, runtime: RuntimeProfile) -> bool:
    """Return whether a firmware has a custom operator: by its name, by its whole domain, or among its operators."""
    known, listed = runtime.get("ops", {}), runtime.get("custom_ops", ())
    return name in listed or name.rpartition(":")[0] in listed or (not isinstance(known, str) and name in known)


def _operators(facts: BundleFacts, known: str | Mapping[str, int]) -> Iterator[Reason]:
    if isinstance(known, str):
        return
    custom = set(facts.get("custom_operators", ()))
    for name, operator in facts.get("operators", {}).items():
        if name not in known:
            if name not in custom:
                yield incompatibility(ObstacleKind.OP_MISSING, name)
        elif operator["version"] > known[name]:
            yield incompatibility(ObstacleKind.OP_VERSION, operator["version"], known[name], subject=name)


def _exchange(facts: BundleFacts, runtime: RuntimeProfile) -> Iterator[Reason]:
    """Compare what goes in and comes out with what the installed application gives and takes."""
    for side in exchange.SIDES:
        if side not in runtime:
            continue
        need, have = _ports(facts, side), runtime[side]
        if len(need) != len(have):
            yield incompatibility(ObstacleKind.IO_MISMATCH, len(need), len(have), subject=f"the number of {side}")
            continue
        for index, (needed, given) in enumerate(zip(need, have, strict=True)):
            if not exchange.ports_agree(needed, given):
                steps = bool({"scale", "zero_point"} & set(given))
                shown = exchange.describe_port(needed, quantised=steps), exchange.describe_port(given)
                yield incompatibility(ObstacleKind.IO_MISMATCH, *shown, subject=f"{side[:-1]} {index}")
    labels = facts.get("labels") or []
    if "labels" in runtime and list(labels) != list(runtime["labels"]):
        differs = (
            exchange.label_difference(labels, runtime["labels"])
            if labels
            else "no labels (`fit.labels` in bundle.json)"
        )
        yield incompatibility(ObstacleKind.LABELS_MISMATCH, differs, len(runtime["labels"]))


def _ports(facts: BundleFacts, *sides: exchange.Side) -> Sequence[PortFacts]:
    return [port for side in sides for port in facts.get(side, ())]
