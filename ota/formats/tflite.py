"""TensorFlow Lite models: a detached signature over the file, then an inspection of what devices will need.

Format: ``ota.formats.graph``. Sizes of the arena are those of TensorFlow Lite Micro (``ota.fit.arena``).

The arena is predicted here for uploads that ``ota.measuring`` cannot measure: on machines for which tflite-micro has no
wheel (all but 64-bit x86 Linux), and for models that it does not run, such as those with custom operators. What was
measured counts more than a prediction. The walk that finds lifetimes also refuses models that are damaged or malicious,
so every model takes it.
"""

import importlib.metadata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ota.errors import RefusedBundleError
from ota.facts import Arena, BundleFacts, OperatorUse, PortFacts
from ota.fit import arena
from ota.formats import detached, graph, magic
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line

FORMAT = "tflite"
MAX_MODEL = 64 * 1024 * 1024
MAX_STEPS = 50_000
MAX_BYTES = 1 << 40
#: Operators whose kernels keep two words a channel in quantised models.
_CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}
#: Types that no kernel computes with: they name a variable.
_HANDLES = {"RESOURCE", "VARIANT"}
#: Bytes on a 64-bit host: tensor struct, node with its registration, input or output object, its quantisation.
_TENSOR, _NODE, _PORT, _PORT_QUANTISATION = 24, 64, 64, 32
#: What the interpreter itself keeps, and what a kernel keeps for one node, on average. What a kernel copies or keeps by
#: channel is counted apart. The bench ``trust`` compares; the error has to stay within the margin of ``ota.fit``.
_INTERPRETER, _KERNEL, _FULLY_CONNECTED = 536, 60, 104


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the model needs, when one of the anchors has signed its file.

    Raises:
        RefusedBundleError: unsigned, signed with an unregistered key, damaged or malicious.
    """
    data = read_whole_file(case.image, MAX_MODEL, "model")
    magic.demand_magic(data[: magic.ENOUGH], "tflite")
    signer, said = detached.verify_detached(case, "A model")
    judgement = judge_tflite(data, graph.read_model(data))
    return Judgement({**judgement.facts, **signer}, [said, *judgement.statements])


def judge_tflite(data: bytes, model: graph.Graph) -> Judgement:
    """Return what a model needs, independent of its signer."""
    tool = f"tflite {importlib.metadata.version('tflite')}"
    said = report_line("inspection", tool, f"schema {model.schema}, {len(model.subgraphs)} subgraphs")
    return Judgement({**inspect_tflite(model), "flash": len(data)}, [said])


def inspect_tflite(model: graph.Graph) -> BundleFacts:
    """Return the facts of a model that people and the fit gate use."""
    main = model.subgraphs[0]
    operators = [operator for sub in model.subgraphs for operator in sub.operators]
    tensors = [tensor for sub in model.subgraphs for tensor in sub.tensors]
    constants: Counter[str] = Counter()
    for tensor in tensors:
        constants[tensor.dtype] += tensor.constant
    return {
        "schema": model.schema,
        "description": model.description,
        "operators": _operators(operators),
        "custom_operators": sorted({operator.name for operator in operators if operator.custom}),
        "inputs": [_port(main.tensors[i]) for i in main.inputs],
        "outputs": [_port(main.tensors[i]) for i in main.outputs],
        "dtypes": sorted({tensor.dtype for tensor in tensors} - _HANDLES),
        "weights": {name: size for name, size in sorted(constants.items()) if size},
        "quantisation": _quantisation(main),
        "subgraphs": len(model.subgraphs),
        "tensors": len(tensors),
        "nodes": len(operators),
        "arena": predict_arena(model),
    }


def predict_arena(model: graph.Graph) -> Arena:
    """Return the predicted arena in bytes: planned head, persistent tail, and their sum."""
    head, tail = arena.planned_head(_Lifetimes(model).buffers()), _tail(model)
    return {"head": head, "tail": tail, "predicted": head + tail}


@dataclass(slots=True)
class _Lifetimes:
    """Walk a model as TFLM's allocator does, and note when each tensor is first and last used."""

    model: graph.Graph
    step: int = 0
    first: dict[tuple[int, int], int] = field(default_factory=dict)
    last: dict[tuple[int, int], int] = field(default_factory=dict)

    def buffers(self) -> Iterator[arena.Buffer]:
        """Yield what the planner has to place."""
        self._walk(0, ())
        index = 0
        for number, sub in enumerate(self.model.subgraphs):
            for position, tensor in enumerate(sub.tensors):
                key = (number, position)
                if key in self.first and key in self.last and not tensor.constant and not tensor.variable:
                    yield arena.Buffer(index, size_of(tensor), self.first[key], self.last[key])
                index += 1

    def _walk(self, number: int, above: tuple[int, ...]) -> None:
        if number in above:
            msg = "The model's subgraphs call one another in a circle; it is damaged or malicious."
            raise RefusedBundleError(msg)
        sub = self.model.subgraphs[number]
        for tensor in sub.inputs:
            self._write(number, tensor)
            self._read(number, tensor)
        for operator in sub.operators:
            self._advance()
            for tensor in operator.outputs:
                self._write(number, tensor)
            for called in operator.calls:
                self._advance()
                self._walk(called, (*above, number))
            for tensor in (*operator.inputs, *operator.outputs):
                self._read(number, tensor)
        for tensor in sub.outputs:
            self._read(number, tensor)

    def _advance(self) -> None:
        self.step += 1
        if self.step > MAX_STEPS:
            msg = f"The model takes more than {MAX_STEPS} steps to traverse; it is damaged or malicious."
            raise RefusedBundleError(msg)

    def _write(self, number: int, tensor: int) -> None:
        self.first.setdefault((number, tensor), self.step)

    def _read(self, number: int, tensor: int) -> None:
        self.last[number, tensor] = self.step


def size_of(tensor: graph.Tensor) -> int:
    """Return the bytes of a tensor's content; dimensions below one count as one."""
    elements = 1
    for dimension in tensor.shape:
        elements *= max(dimension, 1)
        if elements > MAX_BYTES:
            msg = "The model has a tensor of more than a terabyte; it is damaged or malicious."
            raise RefusedBundleError(msg)
    return -(-elements * graph.element_bits(tensor.dtype) // 8)


def _tail(model: graph.Graph) -> int:
    """Return the persistent part, by the sizes of TFLM's structures on a 64-bit host."""
    main, total = model.subgraphs[0], _INTERPRETER
    for sub in model.subgraphs:
        total += _TENSOR * len(sub.tensors) + _NODE * len(sub.operators)
        total += sum(_kept(operator) + _copied(sub, operator) for operator in sub.operators)
        total += sum(arena.align_size(size_of(tensor)) for tensor in sub.tensors if tensor.variable)
        total += sum(_channels(sub, operator) for operator in sub.operators if operator.name in _CONVOLUTIONS)
    ports = [main.tensors[i] for i in (*main.inputs, *main.outputs)]
    total += sum(_PORT + (_PORT_QUANTISATION if port.scale is not None else 0) for port in ports)
    return total + _variables(model)


def _kept(operator: graph.GraphNode) -> int:
    return _FULLY_CONNECTED if operator.name == "FULLY_CONNECTED" else _KERNEL


def _channels(sub: graph.Subgraph, operator: graph.GraphNode) -> int:
    """Return what a convolution keeps for each output channel, whether it is quantised or not."""
    if not operator.outputs:
        return 0
    shape = sub.tensors[operator.outputs[0]].shape
    return 2 * arena.align_size(4 * max(shape[-1], 1)) if shape else 0


def _copied(sub: graph.Subgraph, operator: graph.GraphNode) -> int:
    """Return what a kernel copies: a matrix multiplication transposes its constant right-hand side."""
    if operator.name != "BATCH_MATMUL" or len(operator.inputs) < 2:  # noqa: PLR2004  because it has two sides
        return 0
    right = sub.tensors[operator.inputs[1]]
    return arena.align_size(size_of(right)) if right.constant else 0


def _variables(model: graph.Graph) -> int:
    """Return the bytes of the resource variables, by what is assigned to each; subgraphs share them by name."""
    sizes: dict[str, int] = {}
    for sub in model.subgraphs:
        names = {node.outputs[0]: node.variable for node in sub.operators if node.variable and node.outputs}
        for operator in sub.operators:
            if operator.name == "ASSIGN_VARIABLE" and len(operator.inputs) == 2:  # noqa: PLR2004  because it takes a handle and a value
                handle, value = operator.inputs
                name = names.get(handle, "")
                sizes[name] = max(sizes.get(name, 0), arena.align_size(size_of(sub.tensors[value])))
    return sum(sizes.values())


def _operators(operators: list[graph.GraphNode]) -> dict[str, OperatorUse]:
    uses: dict[str, OperatorUse] = {}
    for operator in sorted(operators, key=lambda operator: operator.name):
        entry = uses.setdefault(operator.name, {"count": 0, "version": 0})
        entry["count"] += 1
        entry["version"] = max(entry["version"], operator.version)
    return uses


def _port(tensor: graph.Tensor) -> PortFacts:
    if tensor.steps > 1:
        msg = (
            f"The input or output {tensor.name[:60]!r} has {tensor.steps} scales (one per channel). Applications "
            "exchange tensors with one scale and one zero point. Quantise it per tensor."
        )
        raise RefusedBundleError(msg)
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": None if tensor.scale is None else f"{tensor.scale:.9g}",
        "zero_point": tensor.zero_point,
    }


def _quantisation(main: graph.Subgraph) -> str:
    """Return int8, float32 or mixed, by the tensors that operators compute with."""
    kinds = {
        tensor.dtype for tensor in main.tensors if tensor.dtype in {"INT8", "UINT8", "INT16", "FLOAT32", "FLOAT16"}
    }
    if not kinds & {"FLOAT32", "FLOAT16"}:
        return "int8" if kinds & {"INT8", "UINT8"} else "other"
    return "mixed" if kinds - {"FLOAT32", "FLOAT16"} else "float32"
