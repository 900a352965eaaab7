"""ONNX models: a detached signature over the file, then an inspection; needs the extra ``models``."""

import importlib.metadata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from ota.errors import RefusedBundleError
from ota.formats import detached, magic
from ota.formats.judgement import Case, Judgement, read, statement

FORMAT = "onnx"
MAX_MODEL = 256 * 1024 * 1024
MOST_NODES, MOST_TENSORS = 100_000, 100_000
#: ONNX's words for what TFLite and the profiles of hardware call otherwise
_NAMES = {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}
_OWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


def judge(case: Case) -> Judgement:
    """Return what the model is, when one of the anchors has signed its file.

    Raises:
        RefusedBundleError: unsigned, signed by a stranger, damaged or hostile.
    """
    data = read(case.image, MAX_MODEL, "model")
    known = magic.kind_of_bytes(data)
    if known not in {None, FORMAT}:
        msg = f"The file is not an ONNX model: it is {magic.NAMES[str(known)]}. Upload it with its own format."
        raise RefusedBundleError(msg)
    signer, said = detached.verify(case, "A model")
    found = inspected(data)
    return Judgement({**found.facts, **signer}, [said, *found.statements])


def inspected(data: bytes) -> Judgement:
    """Return what a model needs, whoever has signed it.

    Raises:
        RefusedBundleError: no valid model, or its weights lie in other files.
    """
    facts, tool = inspect(data), f"onnx {importlib.metadata.version('onnx')}"
    said = statement("inspection", tool, f"IR {facts['ir_version']}, {facts['nodes']} nodes")
    return Judgement({**facts, "flash": len(data)}, [said])


def inspect(data: bytes) -> dict[str, Any]:
    """Return the facts of a model.

    Raises:
        RefusedBundleError: no valid model, or its weights lie in other files.
    """
    try:
        model = onnx.load_model_from_string(data)
        _demand_whole(model)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, TypeError) as error:
        msg = "The file is no valid ONNX model."
        raise RefusedBundleError(msg) from error
    graph = model.graph
    if len(graph.node) > MOST_NODES or len(graph.initializer) > MOST_TENSORS:
        msg = f"The model has more than {MOST_NODES} nodes or {MOST_TENSORS} tensors and is refused."
        raise RefusedBundleError(msg)
    counted = Counter(one.op_type for one in graph.node)
    return {
        "ir_version": model.ir_version,
        "opset": {one.domain or "ai.onnx": one.version for one in model.opset_import},
        "custom": sorted({one.domain for one in graph.node} - _OWN_DOMAINS),
        "operators": {name: {"count": number, "version": 0} for name, number in sorted(counted.items())},
        "nodes": len(graph.node),
        "inputs": [_port(one) for one in graph.input],
        "outputs": [_port(one) for one in graph.output],
        "weights": {"bytes": sum(one.ByteSize() for one in graph.initializer)},
    }


def _demand_whole(model: Any) -> None:
    """Refuse a model that names other files, before anything looks for them."""
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in _tensors(model.graph, model.functions)):
        msg = "The model keeps weights in other files; only models in one file are accepted."
        raise RefusedBundleError(msg)


def _tensors(graph: Any, functions: Any = ()) -> Iterator[Any]:
    """Yield every tensor of a model, in subgraphs and functions too."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for attribute in (one for node in graph.node for one in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for inner in (attribute.g, *attribute.graphs):
            if inner.node:
                yield from _tensors(inner)
    for function in functions:
        yield from _tensors(function)


def _port(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [one.dim_value if one.HasField("dim_value") else one.dim_param[:40] for one in tensor.shape.dim]
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type else "UNDEFINED"
    kind = _NAMES.get(kind, kind)
    return {"name": value.name[:100], "dtype": kind, "shape": shape}
