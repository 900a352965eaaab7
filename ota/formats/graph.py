"""Read a TensorFlow Lite file into plain values, within bounds; offsets and counts in it are hostile.

Format: FlatBuffers, by the schema of TensorFlow Lite, version 3 (``schema.fbs``, file identifier ``TFL3``).

The schema reader is the pure-Python one of the ``tflite`` package: a wrong offset raises, it cannot corrupt
memory. What it cannot do is bound loops; that is done here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import tflite

from ota.errors import RefusedBundleError

MAX_SUBGRAPHS = 64
MAX_TENSORS = 8000
MAX_OPERATORS = 8000
MAX_BUFFERS = 20_000
MAX_RANK = 16
MAX_TIES = 512
MAX_DIMENSION = 2**31 - 1
_CUSTOM = tflite.BuiltinOperator.CUSTOM


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: shape, type, the bytes of its constant content, its first quantisation step, and how many it has."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: int
    variable: bool
    scale: float | None
    zero_point: int | None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node: its operation, the tensors it reads and writes, the subgraphs it runs, the variable it names."""

    name: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...]
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Subgraph:
    """One graph of the model; the first is the main one."""

    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[GraphNode, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model."""

    schema: int
    description: str
    subgraphs: tuple[Subgraph, ...]


def read_model(data: bytes) -> Graph:
    """Return the model in a file.

    Raises:
        RefusedBundleError: a count or an index is out of bounds.
    """
    model = tflite.Model.GetRootAs(data, 0)
    buffers = [_bytes_of(model.Buffers(i), len(data)) for i in _range(model.BuffersLength(), MAX_BUFFERS, "buffers")]
    codes = [model.OperatorCodes(i) for i in _range(model.OperatorCodesLength(), MAX_OPERATORS, "operator codes")]
    subgraphs = [model.Subgraphs(i) for i in _range(model.SubgraphsLength(), MAX_SUBGRAPHS, "subgraphs")]
    if not subgraphs:
        _refuse("has no graph")
    if sum(subgraph.TensorsLength() for subgraph in subgraphs) > MAX_TENSORS:
        _refuse(f"has more than {MAX_TENSORS} tensors")
    if sum(subgraph.OperatorsLength() for subgraph in subgraphs) > MAX_OPERATORS:
        _refuse(f"has more than {MAX_OPERATORS} operators")
    found = tuple(_subgraph(subgraph, buffers, codes, len(subgraphs)) for subgraph in subgraphs)
    return Graph(model.Version(), _text(model.Description()), found)


def element_bits(dtype: str) -> int:
    """Return the bits of one element of a type; a resource is a 32-bit handle."""
    return _BITS.get(dtype, 0)


_BITS = {
    "INT4": 4,
    "INT8": 8,
    "UINT8": 8,
    "BOOL": 8,
    "INT16": 16,
    "UINT16": 16,
    "FLOAT16": 16,
    "INT32": 32,
    "UINT32": 32,
    "FLOAT32": 32,
    "RESOURCE": 32,
    "INT64": 64,
    "UINT64": 64,
    "FLOAT64": 64,
    "COMPLEX64": 64,
    "COMPLEX128": 128,
}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_TYPES = _names(tflite.TensorType)
_OPERATORS = _names(tflite.BuiltinOperator)


def _subgraph(
    source: "tflite.SubGraph", buffers: list[int], codes: list["tflite.OperatorCode"], graphs: int
) -> Subgraph:
    count = source.TensorsLength()
    tensors = tuple(_tensor(source.Tensors(i), buffers) for i in range(count))
    operators = tuple(_operator(source.Operators(i), codes, count, graphs) for i in range(source.OperatorsLength()))
    inputs = _indices(source.InputsLength(), source.Inputs, count)
    return Subgraph(tensors, inputs, _indices(source.OutputsLength(), source.Outputs, count), operators)


def _tensor(source: "tflite.Tensor", buffers: list[int]) -> Tensor:
    shape = tuple(source.Shape(i) for i in _range(source.ShapeLength(), MAX_RANK, "dimensions"))
    if any(not -1 <= dimension <= MAX_DIMENSION for dimension in shape):
        _refuse("has a tensor with an impossible shape")
    dtype = _TYPES.get(source.Type())
    buffer = source.Buffer()
    if dtype is None or buffer >= len(buffers):
        _refuse("has a tensor of an unknown type or without its buffer")
    steps = source.Quantization()
    scaled = steps is not None and steps.ScaleLength() > 0 and steps.ZeroPointLength() > 0
    return Tensor(
        name=_text(source.Name()),
        shape=shape,
        dtype=str(dtype),
        constant=buffers[buffer],
        variable=bool(source.IsVariable()),
        scale=float(steps.Scale(0)) if scaled else None,
        zero_point=int(steps.ZeroPoint(0)) if scaled else None,
        steps=steps.ScaleLength() if steps is not None else 0,
    )


def _operator(source: "tflite.Operator", codes: list["tflite.OperatorCode"], tensors: int, graphs: int) -> GraphNode:
    index = source.OpcodeIndex()
    if index >= len(codes):
        _refuse("has an operator of a kind that it does not define")
    code = codes[index]
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = number == _CUSTOM
    calls = _calls(source, number)
    if any(not 0 <= call < graphs for call in calls):
        _refuse("calls a subgraph that does not exist")
    return GraphNode(
        name=_text(code.CustomCode()) if custom else _OPERATORS.get(number, f"BUILTIN_{number}"),
        version=code.Version(),
        custom=custom,
        inputs=_indices(source.InputsLength(), source.Inputs, tensors),
        outputs=_indices(source.OutputsLength(), source.Outputs, tensors),
        calls=calls,
        variable=_variable(source) if number == tflite.BuiltinOperator.VAR_HANDLE else "",
    )


def _calls(source: "tflite.Operator", number: int) -> tuple[int, ...]:
    """Return the subgraphs that a control-flow operator runs, in the planner's order."""
    readers: dict[int, tuple[type, tuple[str, ...]]] = {
        tflite.BuiltinOperator.IF: (tflite.IfOptions, ("ThenSubgraphIndex", "ElseSubgraphIndex")),
        tflite.BuiltinOperator.WHILE: (tflite.WhileOptions, ("CondSubgraphIndex", "BodySubgraphIndex")),
        tflite.BuiltinOperator.CALL_ONCE: (tflite.CallOnceOptions, ("InitSubgraphIndex",)),
    }
    if number not in readers:
        return ()
    kind, fields = readers[number]
    table = source.BuiltinOptions()
    if table is None:
        _refuse("has a control-flow operator without options")
    options = kind()
    options.Init(table.Bytes, table.Pos)
    return tuple(getattr(options, field)() for field in fields)


def _variable(source: "tflite.Operator") -> str:
    """Return the name by which subgraphs share a resource variable."""
    table = source.BuiltinOptions()
    if table is None:
        _refuse("has a variable without a name")
    options = tflite.VarHandleOptions()
    options.Init(table.Bytes, table.Pos)
    return f"{_text(options.Container())}/{_text(options.SharedName())}"


def _indices(count: int, item: Callable[[int], int], tensors: int) -> tuple[int, ...]:
    """Return tensor indices; -1 means an optional one that is omitted."""
    indices = tuple(item(i) for i in _range(count, MAX_TIES, "inputs or outputs of a node"))
    if any(not -1 <= number < tensors for number in indices):
        _refuse("refers to a tensor that does not exist")
    return tuple(number for number in indices if number >= 0)


def _bytes_of(buffer: "tflite.Buffer", whole: int) -> int:
    size = buffer.DataLength() or buffer.Size()
    if size > whole or buffer.Offset() > whole:
        _refuse("has content beyond its end")
    return int(size)


def _range(count: int, most: int, what: str) -> range:
    if count > most:
        _refuse(f"has more than {most} {what}")
    return range(count)


def _text(value: bytes | None) -> str:
    """Return a name from the file as printable text of bounded length."""
    text = (value or b"")[:200].decode(errors="replace")
    return "".join(char if char.isprintable() else "?" for char in text)


def _refuse(why: str) -> NoReturn:
    msg = f"The model {why}; it is damaged or malicious."
    raise RefusedBundleError(msg)
