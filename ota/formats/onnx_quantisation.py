"""Read the quantisation of what an ONNX model exchanges with its application, or say that it cannot be read. Pure.

Scale and zero point are in the operators that read an input or write an output. A value is followed to them through
operators that only move numbers, and into branches (``If``). Sources: the operator schemas of ONNX (``QLinearMatMul``
and others) and of ONNX Runtime (``com.microsoft``: ``QLinearAdd`` and others).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx

from ota.formats.onnx_graph import DEFAULT, STANDARD, operator_name, refuse_model
from ota.formats.onnx_scopes import Constant, Scope

#: operators that give the numbers of their first input in other places, or some of them: the quantisation stays
_MOVES = {
    "Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "GatherElements",
    "GatherND", "Expand", "Tile", "Split", "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool", "ReduceMax",
    "ReduceMin", "Dropout", "ReverseSequence", "Compress", "TopK", "Trilu",
}  # fmt: skip
#: operators whose inputs are all of one quantisation, which is their output's
_JOINS = {"Concat", "Relu"}
#: operator to (place of an input, of its scale, of its zero point); ``com.microsoft`` has the later ones
_READS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "DequantizeLinear": ((0, 1, 2),),
    "QLinearConv": ((0, 1, 2), (3, 4, 5)),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5)),
    "QLinearAdd": ((0, 1, 2), (3, 4, 5)),
    "QLinearMul": ((0, 1, 2), (3, 4, 5)),
    "QGemm": ((0, 1, 2), (3, 4, 5)),
    "QLinearSigmoid": ((0, 1, 2),),
    "QLinearLeakyRelu": ((0, 1, 2),),
    "QLinearSoftmax": ((0, 1, 2),),
    "QLinearAveragePool": ((0, 1, 2),),
    "QLinearGlobalAveragePool": ((0, 1, 2),),
}
#: operator to the places of scale and zero point of its output
_WRITES = {
    "QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7), "QGemm": (7, 8), "QLinearSigmoid": (3, 4), "QLinearLeakyRelu": (3, 4),
    "QLinearSoftmax": (3, 4),
    "QLinearAveragePool": (3, 4), "QLinearGlobalAveragePool": (3, 4),
}  # fmt: skip
#: arithmetic by which a model may quantise a number itself, behind or before a Cast
_ARITHMETIC = {
    "Add", "Sub", "Mul", "Div", "Round", "Floor", "Ceil", "Clip", "BatchNormalization", "InstanceNormalization",
}  # fmt: skip
_NEUTRAL = {"Shape", "Size"}
#: types that quantised numbers have; an integer of another type is taken as a plain number where no operator says more
_QUANTISED = {
    onnx.TensorProto.DataType.Value(name)
    for name in onnx.TensorProto.DataType.keys()  # noqa: SIM118  because the enum is no mapping, it only has keys()
    if name.startswith(("INT4", "UINT4", "INT2", "UINT2", "FLOAT8", "FLOAT4", "FLOAT6"))
    or name in {"INT8", "UINT8", "INT16", "UINT16"}
}
#: steps of one search, so that branches inside branches do not make it endless
_MOST_STEPS = 20_000
_Place = tuple[Scope, str, bool]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What one input or output says of its numbers.

    Args:
        scale: decimal text, or None for none.
        zero_point: an integer, or None for none.
        unreadable: why it could not be read; empty when it was.
    """

    scale: str | None = None
    zero_point: int | None = None
    unreadable: str = ""


@dataclass(slots=True)
class _Search:
    """One input or output that is followed."""

    port: str
    quantised: bool
    found: set[Quantisation] = field(default_factory=set)
    steps: int = 0
    _seen: set[tuple[int, str, bool]] = field(default_factory=set)

    def enter(self, scope: Scope, name: str, *, cast: bool) -> bool:
        """Return whether a value is new to the search, and there is room for it."""
        self.steps += 1
        if self.steps > _MOST_STEPS:
            self.unreadable("it goes through too many operators")
            return False
        key = (id(scope), name, cast)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def unreadable(self, why: str) -> None:
        """Note that the quantisation cannot be read, where numbers of this type have one."""
        if self.quantised:
            self.found.add(Quantisation(unreadable=why[:160]))

    def step(self, scope: Scope, node: onnx.NodeProto, places: tuple[int, int]) -> None:
        """Note scale and zero point of a node."""
        names = [node.input[index] if index < len(node.input) else "" for index in places]
        values = [scope.constant(name) if name else None for name in names]
        scale = None if values[0] is None else _scalar(values[0], self.port)
        zero = 0 if not names[1] else None if values[1] is None else _scalar(values[1], self.port)
        if scale is None or zero is None or not math.isfinite(zero):
            operator = operator_name(node.domain or DEFAULT, node.op_type)
            self.found.add(Quantisation(unreadable=f"scale or zero point of {operator} is not a constant number"))
        else:
            self.found.add(Quantisation(f"{scale:.9g}", int(zero)))

    def result(self) -> Quantisation:
        """Return what was found.

        Raises:
            RefusedBundleError: two different things were.
        """
        unreadable = sorted(quantisation.unreadable for quantisation in self.found if quantisation.unreadable)
        if unreadable:
            return Quantisation(unreadable=unreadable[0])
        if len(self.found) > 1:
            refuse_model(f"quantises {self.port[:60]!r} in two ways")
        return next(iter(self.found), Quantisation())


def graph_quantisation(model: onnx.ModelProto) -> dict[str, Quantisation]:
    """Return the quantisation of the inputs and outputs of a model's main graph; calls of functions are unreadable.

    Raises:
        RefusedBundleError: one has a scale for each channel, or two different ones.
    """
    scope = Scope(model.graph)
    quantisations: dict[str, Quantisation] = {}
    for ports, follow in ((model.graph.input, _forwards), (model.graph.output, _backwards)):
        for port in ports:
            search = _Search(port.name, port.type.tensor_type.elem_type in _QUANTISED)
            follow(search, scope, port.name)
            said = search.result()
            quantisations[port.name] = said if said != Quantisation() else quantisations.get(port.name, said)
    return quantisations


def _forwards(search: _Search, scope: Scope, name: str) -> None:
    """Follow a value to the operators that read it."""
    waiting: list[_Place] = [(scope, name, False)]
    while waiting:
        at, value, cast = waiting.pop()
        if not search.enter(at, value, cast=cast):
            continue
        uses = [*at.uses(value), *(at.results() if value in at.outputs else ())]
        for where, node, index in uses:
            waiting += _through(search, where, node, index, cast=cast)


def _through(search: _Search, scope: Scope, node: onnx.NodeProto, index: int, *, cast: bool) -> Iterator[_Place]:
    """Yield the values that a node makes of a value without changing what its numbers mean."""
    operator = _operator(node)
    steps = {value: (scale, zero) for value, scale, zero in _READS.get(operator, ())}
    if index in steps:
        search.step(scope, node, steps[index])
    elif operator in _JOINS or (operator in _MOVES and index == 0) or (operator == "If" and index == -1):
        yield from ((scope, name, cast) for name in node.output if name)
    elif operator == "Cast":
        yield scope, node.output[0], True
    elif operator not in _NEUTRAL and (not cast or operator in _ARITHMETIC or not _known(node)):
        search.unreadable(f"its numbers go into {operator_name(node.domain or DEFAULT, node.op_type)}")


def _backwards(search: _Search, scope: Scope, name: str) -> None:
    """Follow a value to the operators that make it."""
    waiting: list[_Place] = [(scope, name, False)]
    while waiting:
        at, value, cast = waiting.pop()
        owner = at.owner(value)
        if owner is None or not search.enter(owner, value, cast=cast):
            continue
        maker = owner.makers.get(value)
        if maker is not None:
            waiting += _behind(search, owner, maker, value, cast=cast)


def _behind(search: _Search, scope: Scope, node: onnx.NodeProto, value: str, *, cast: bool) -> Iterator[_Place]:
    """Yield the values of which a node makes a value without changing what its numbers mean."""
    operator, index = _operator(node), list(node.output).index(value)
    if operator in _WRITES and index == 0:
        search.step(scope, node, _WRITES[operator])
    elif operator == "If":
        yield from ((inner, inner.outputs[index], cast) for inner in scope.branches(node) if index < len(inner.outputs))
    elif operator in _JOINS:
        yield from ((scope, name, cast) for name in node.input)
    elif operator in _MOVES and node.input:
        yield scope, node.input[0], cast
    elif operator == "Cast":
        yield scope, node.input[0], True
    elif operator != "Constant" and (not cast or operator in _ARITHMETIC or not _known(node)):
        search.unreadable(f"its numbers come from {operator_name(node.domain or DEFAULT, node.op_type)}")


def _operator(node: onnx.NodeProto) -> str:
    """Return the name of an operator of ONNX or ONNX Runtime; nothing for one of another domain with the same name."""
    return node.op_type if (node.domain or DEFAULT) in {*STANDARD, "com.microsoft"} else ""


def _known(node: onnx.NodeProto) -> bool:
    """Return whether ONNX itself defines an operator; what another does to numbers is not known."""
    return (node.domain or DEFAULT) in STANDARD and node.op_type not in {"Loop", "Scan"}


def _scalar(constant: Constant | None, name: str) -> float | None:
    """Return the one number in a tensor or in an attribute of Constant; None where it is no plain number."""
    held: object = constant
    if isinstance(constant, onnx.AttributeProto):
        held = onnx.helper.get_attribute_value(constant)
    try:
        numbers = onnx.numpy_helper.to_array(held) if isinstance(held, onnx.TensorProto) else np.asarray(held)
        values = np.reshape(numbers, -1)
        if values.size == 1:
            return float(values[0]) if values.dtype.kind not in "iu" else int(values[0])
    except (ValueError, TypeError, RuntimeError):
        return None
    return refuse_model(f"quantises {name[:60]!r}, which the application reads or writes, per channel")
