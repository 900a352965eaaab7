"""What a model exchanges with its application: shapes, types, quantisation and labels, compared exactly. Pure.

A model with another scale or zero point computes other numbers from the same bytes, and one whose labels are in another
order names other classes: both run without an error, and are wrong.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ota.facts import BundleFacts, ClassLabels, PortFacts

Side = Literal["inputs", "outputs"]
SIDES: tuple[Side, Side] = ("inputs", "outputs")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ModelDifference:
    """One difference between a model and the one before it.

    Args:
        acknowledgement: the word in ``acknowledges`` of bundle.json that accepts it.
        text: what changed, for people.
    """

    acknowledgement: str
    text: str


def ports_agree(needed: PortFacts, given: PortFacts) -> bool:
    """Return whether a model's port matches an application's; properties that the application omits always match.

    Args:
        needed: of the model; a dimension that it names by a word may be any number.
        given: of the application: ``shape``, ``dtype``, and ``scale`` and ``zero_point`` where it states them.
    """
    need, have = needed["shape"], given["shape"]
    if needed["dtype"] != given["dtype"] or len(need) != len(have):
        return False
    if needed.get("unreadable") and {"scale", "zero_point"} & set(given):
        return False
    if "scale" in given and not _same_scale(needed.get("scale"), given["scale"]):
        return False
    if "zero_point" in given and needed.get("zero_point") != given["zero_point"]:
        return False
    return all(isinstance(one, str) or one == other for one, other in zip(need, have, strict=True))


def describe_port(port: PortFacts, *, quantised: bool = True) -> str:
    """Return a port for people: type, shape, and the quantisation where there is one and it matters."""
    shape = "x".join(map(str, port["shape"])) or ("" if "(" in port["dtype"] else "scalar")
    text = f"{port['dtype']} {shape}".rstrip()
    if not quantised:
        return text
    if port.get("scale") is not None:
        text += f" scale {port['scale']}"
    if port.get("zero_point") is not None:
        text += f" zero point {port['zero_point']}"
    if port.get("unreadable"):
        text += f" with a quantisation that cannot be read ({port['unreadable']})"
    return text


def port_changes(before: BundleFacts, after: BundleFacts) -> Iterator[ModelDifference]:
    """Yield what differs between two models.

    Args:
        before: facts of the model that ran before.
        after: facts of the one that follows it.
    """
    for side in SIDES:
        was, now = before.get(side, ()), after.get(side, ())
        if len(was) != len(now):
            yield ModelDifference("io-changed", f"the number of {side} changes from {len(was)} to {len(now)}")
            continue
        for index, (old, new) in enumerate(zip(was, now, strict=True)):
            if not _same_port(old, new):
                yield ModelDifference(
                    "io-changed", f"{side[:-1]} {index} changes from {describe_port(old)} to {describe_port(new)}"
                )
    said, says = before.get("labels") or [], after.get("labels") or []
    if said and list(said) != list(says):
        yield ModelDifference("labels-changed", _of_labels(said, says))
    yield from _of_classes(before.get("class_labels") or [], after.get("class_labels") or [])


def label_difference(need: Sequence[str], have: Sequence[str]) -> str:
    """Return the first place where two lists of labels differ, for people."""
    index = next((at for at, pair in enumerate(zip(need, have, strict=False)) if pair[0] != pair[1]), None)
    if index is None:
        return f"{len(need)} labels instead of {len(have)}"
    return f"label {index} is {need[index]!r} instead of {have[index]!r}"


def _of_labels(was: Sequence[str], now: Sequence[str]) -> str:
    if not now:
        return f"labels are no longer declared ({len(was)} were)"
    moved = [f"{at}: {old!r} -> {new!r}" for at, (old, new) in enumerate(zip(was, now, strict=False)) if old != new]
    kind = "are reordered" if sorted(was) == sorted(now) else f"change ({len(was)} before, {len(now)} now)"
    more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    return f"labels {kind}: {', '.join(moved[:_SHOWN]) or 'the last ones'}{more}"


def _of_classes(was: Sequence[ClassLabels], now: Sequence[ClassLabels]) -> Iterator[ModelDifference]:
    """Yield how the lists of classes inside two models differ, of which digests and the first ones are kept."""
    if [(hardware_class["of"], hardware_class["sha256"]) for hardware_class in was] == [
        (hardware_class["of"], hardware_class["sha256"]) for hardware_class in now
    ]:
        return
    if [hardware_class["of"] for hardware_class in was] != [hardware_class["of"] for hardware_class in now]:
        yield ModelDifference(
            "labels-changed", f"the lists of classes inside the model change ({len(was)} before, {len(now)} now)"
        )
        return
    for old, new in zip(was, now, strict=True):
        if old["sha256"] != new["sha256"]:
            same = old["labels"] == new["labels"]
            differs = "labels that are not shown change" if same else _of_labels(old["labels"], new["labels"])
            yield ModelDifference("labels-changed", f"inside the model, {new['of']}: {differs}")


def _same_port(old: PortFacts, new: PortFacts) -> bool:
    """Return whether two ports are the same; one that could not be read is not the same as anything."""
    if old.get("unreadable") or new.get("unreadable"):
        return False
    same = old["dtype"] == new["dtype"] and list(old["shape"]) == list(new["shape"])
    return same and _same_scale(old.get("scale"), new.get("scale")) and old.get("zero_point") == new.get("zero_point")


def _same_scale(one: object, other: object) -> bool:
    """Compare scales as devices keep them: 32-bit floating point numbers."""
    if one is None or other is None:
        return one is other
    return _float32(str(one)) == _float32(str(other))


def _float32(text: str) -> bytes:
    try:
        return struct.pack("<f", float(text))
    except OverflowError:
        return text.encode()
