"""Types of what an ONNX model exchanges and computes with, and the names of classes that it holds. Pure.

Sources: ``onnx.proto`` (``TypeProto``) and the operator schemas, which say for each output which types it may have.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import onnx

from ota.facts import ClassLabels
from ota.formats.onnx_graph import (
    DEFAULT,
    STANDARD,
    graphs_of,
    imported_opsets,
    model_tensors,
    operator_name,
    refuse_model,
)

#: ONNX's words for what TFLite and the profiles of hardware call otherwise
_NAMES = {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}
_DEEPEST = 8
#: attributes that name the type of an output
_TYPED = {"to", "dtype", "output_dtype", "output_datatype"}
#: types of outputs that no input and no attribute gives
_USUAL = {
    "ConstantOfShape": "FLOAT32", "RandomNormal": "FLOAT32", "RandomUniform": "FLOAT32", "BlackmanWindow": "FLOAT32",
    "HammingWindow": "FLOAT32", "HannWindow": "FLOAT32", "MelWeightMatrix": "FLOAT32", "SequenceEmpty": "FLOAT32",
    "Multinomial": "INT32", "QuantizeLinear": "UINT8", "LayerNormalization": "FLOAT32",
}  # fmt: skip
#: operators whose outputs have the type of an input, of what a sequence holds, or of what a graph inside them makes
_SAME = {
    "Bernoulli", "ConcatFromSequence", "Constant", "EyeLike", "If", "Loop", "Scan", "Optional", "OptionalGetElement",
    "RandomNormalLike", "RandomUniformLike", "SequenceAt", "SequenceConstruct", "SplitToSequence", "DequantizeLinear",
}  # fmt: skip
#: attributes of Constant that are no tensors, and what they make
_VALUES = {"value_float": "FLOAT32", "value_floats": "FLOAT32", "value_int": "INT64", "value_ints": "INT64"}
_INDICES = {"tensor(int32)", "tensor(int64)"}
#: attributes of ``ai.onnx.ml`` that list classes, categories or words by number
_LISTS = ("classlabels", "cats_", "keys_", "values_", "int64_vocabulary")
#: what the facts of a bundle keep of them; a digest represents the rest
_MOST_LISTS, _SHOWN_LABELS, _LONGEST_LABEL = 16, 100, 60
Formal = onnx.defs.OpSchema.FormalParameter


def port_type(value: onnx.ValueInfoProto) -> tuple[str, list[int | str]]:
    """Return the type of an input or output as text, and its shape, which ``onnx.checker`` demands."""
    kind = value.type.WhichOneof("value")
    if kind not in {"tensor_type", "sparse_tensor_type"}:
        return _type_name(value.type), []
    return _type_name(value.type), _shape(getattr(value.type, kind))


def _shape(tensor: onnx.TypeProto.Tensor) -> list[int | str]:
    return [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param[:40] or "?"
        for dimension in tensor.shape.dim
    ]


def _type_name(kind: onnx.TypeProto, depth: int = 0) -> str:
    """Return a type as text: ``FLOAT32``, ``SEQUENCE(INT64 1x4)``, ``MAP(STRING,FLOAT32)``."""
    if depth > _DEEPEST:
        refuse_model(f"has a type that nests more than {_DEEPEST} types")
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        name = element_name(kind.tensor_type.elem_type)
        inside = depth > 0 and kind.tensor_type.HasField("shape")
        return f"{name} {'x'.join(map(str, _shape(kind.tensor_type))) or 'scalar'}" if inside else name
    if which == "sparse_tensor_type":
        return f"SPARSE({element_name(kind.sparse_tensor_type.elem_type)})"
    if which == "map_type":
        value = _type_name(kind.map_type.value_type, depth + 1)
        return f"MAP({element_name(kind.map_type.key_type)},{value})"
    if which in {"sequence_type", "optional_type"}:
        inner = _type_name(getattr(kind, which).elem_type, depth + 1)
        return f"{which.removesuffix('_type').upper()}({inner})"
    return "UNDEFINED"


def element_name(number: int) -> str:
    """Return the type of elements as profiles of hardware name it."""
    try:
        name = str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return f"UNKNOWN({number})"
    return _NAMES.get(name, name)


def computed_types(model: onnx.ModelProto) -> list[str]:
    """Return the type of everything that a model computes with: wherever a type comes from, it is listed.

    Each type inside comes from an input, a constant, an attribute that names it, or an operator that makes it. Numbers
    that are only shapes, axes and indices of operators are omitted: they are part of the operator.

    Args:
        model: with its functions put where they are called.
    """
    opsets = imported_opsets(model.opset_import)
    nodes = list(_nodes(model.graph))
    computing = _computing_names(nodes, opsets) | {port.name for port in model.graph.output}
    types: set[str] = set()
    stated = [one for one in (*model.graph.input, *model.graph.output, *model.graph.value_info) if _elements(one.type)]
    for one in stated:
        types |= _elements(one.type)
    named = {one.name for one in stated}
    exempt = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    for name, tensor in _constants(model.graph, nodes):
        if tensor.data_type not in exempt or name in computing:
            types.add(element_name(tensor.data_type))
    for node in nodes:
        if not named.issuperset(node.output):
            types |= set(_made(node, opsets))
        if node.op_type == "Constant" and node.output:
            types |= {
                _VALUES.get(attribute.name, "UNDEFINED") for attribute in node.attribute if node.output[0] in computing
            }
    return sorted(types - {"UNDEFINED"})


def _nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in graphs_of(node.attribute):
            yield from _nodes(inner)


def _constants(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield (name, tensor) of every constant: initialisers, and tensors in attributes by the output of their node."""
    graphs = [graph, *(inner for node in nodes for inner in graphs_of(node.attribute))]
    for inner_graph in graphs:
        yield from ((tensor.name, tensor) for tensor in inner_graph.initializer)
        yield from ((sparse.values.name, sparse.values) for sparse in inner_graph.sparse_initializer)
    for node in nodes:
        name = node.output[0] if node.output else ""
        for attribute in node.attribute:
            held = [attribute.t, *attribute.tensors, attribute.sparse_tensor.values]
            held += [one.values for one in attribute.sparse_tensors]
            yield from ((name, tensor) for tensor in held if tensor.data_type)


def _schema(node: onnx.NodeProto, opsets: dict[str, int]) -> onnx.defs.OpSchema | None:
    domain = node.domain or DEFAULT
    try:
        return onnx.defs.get_schema(node.op_type, opsets.get(domain, 0), "" if domain == DEFAULT else domain)
    except onnx.defs.SchemaError:
        return None


def _formal(formals: Sequence[Formal], index: int) -> Formal | None:
    """Return what a schema says of an input or output; the last one may repeat."""
    return formals[min(index, len(formals) - 1)] if formals else None


def _computing_names(nodes: Iterable[onnx.NodeProto], opsets: dict[str, int]) -> set[str]:
    """Return the names that some operator reads as anything else than a shape, an axis or an index."""
    names: set[str] = set()
    for node in nodes:
        schema = _schema(node, opsets)
        for index, name in enumerate(node.input):
            formal = _formal(schema.inputs, index) if schema else None
            if formal is None or not set(formal.types) <= _INDICES:
                names.add(name)
        names |= {output.name for inner in graphs_of(node.attribute) for output in inner.output}
    return names


def _made(node: onnx.NodeProto, opsets: dict[str, int]) -> Iterator[str]:
    """Yield the types that a node brings into a model."""
    named = [
        attribute for attribute in node.attribute if attribute.name in _TYPED and (node.domain or DEFAULT) in STANDARD
    ]
    yield from (element_name(one.i) for one in named if not one.ref_attr_name)
    schema = _schema(node, opsets)
    unknown = f"UNKNOWN (made by {operator_name(node.domain or DEFAULT, node.op_type)})"
    if schema is None or any(one.ref_attr_name for one in named):
        yield unknown
        return
    formals = [_formal(schema.inputs, index) for index, name in enumerate(node.input) if name]
    read = {parameter.type_str for parameter in formals if parameter is not None}
    for index, name in enumerate(node.output):
        formal = _formal(schema.outputs, index)
        if not name or formal is None:
            continue
        if len(formal.types) == 1:
            yield from _elements_of_text(next(iter(formal.types)))
        elif formal.type_str not in read and node.op_type not in _SAME and not named:
            yield from _usual(node, unknown)


def _usual(node: onnx.NodeProto, unknown: str) -> Iterator[str]:
    """Yield the types of an output that neither an input nor an attribute of its own names."""
    if node.domain == "ai.onnx.ml":
        lists = [attribute for attribute in node.attribute if attribute.name.startswith(_LISTS)]
        yield "STRING" if any(attribute.strings for attribute in lists) else "INT64"
        yield "FLOAT32"
    elif node.op_type == "ConstantOfShape" and node.attribute:
        return  # its attribute is a tensor, and counted as one
    else:
        yield _USUAL.get(node.op_type, unknown)


def _elements_of_text(text: str) -> Iterator[str]:
    """Yield the types in a type that an operator fixes, but for INT64: such an output is a shape or an index."""
    for word in text.replace("(", ",").replace(")", ",").split(","):
        upper = word.strip().upper()
        if upper in onnx.TensorProto.DataType.keys() and upper != "INT64":  # noqa: SIM118  because it is no mapping
            yield _NAMES.get(upper, upper)


def _elements(kind: onnx.TypeProto, depth: int = 0) -> set[str]:
    """Return the types of elements anywhere in a type."""
    which = kind.WhichOneof("value")
    if which in {"tensor_type", "sparse_tensor_type"}:
        return {element_name(getattr(kind, which).elem_type)} - {"UNDEFINED"}
    if which == "map_type":
        return {element_name(kind.map_type.key_type)} | _elements(kind.map_type.value_type, depth + 1)
    if which in {"sequence_type", "optional_type"}:
        return _elements(getattr(kind, which).elem_type, depth + 1)
    return set()


def class_labels(model: onnx.ModelProto) -> list[ClassLabels]:
    """Return what a model holds of names and numbers of classes: their order decides what its outputs mean.

    Returns:
        for each list ``of`` (where it is), ``count``, ``sha256`` of all of it, and the first ones as ``labels``.
    """
    labels = []
    for node in _every_node(model):
        for attribute in node.attribute:
            values = [text.decode("utf-8", "replace") for text in attribute.strings] or _listed_numbers(node, attribute)
            if values:
                labels.append(
                    _described(f"{operator_name(node.domain or DEFAULT, node.op_type)}.{attribute.name[:60]}", values)
                )
    for tensor in model_tensors(model):
        if tensor.data_type == onnx.TensorProto.STRING:
            values = [text.decode("utf-8", "replace") for text in tensor.string_data]
            labels.append(_described(f"tensor of {len(values)} texts", values))
    if len(labels) > _MOST_LISTS:
        digests = [hardware_class["of"] + hardware_class["sha256"] for hardware_class in labels[_MOST_LISTS:]]
        labels[_MOST_LISTS:] = [{**_described(f"{len(digests)} further lists", digests), "labels": []}]
    return labels


def _every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _nodes(model.graph)
    for function in model.functions:
        yield from _nodes(function)


def _listed_numbers(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> list[str]:
    if node.domain != "ai.onnx.ml" or not attribute.name.startswith(_LISTS):
        return []
    return [str(number) for number in (*attribute.ints, *attribute.floats)]


def _described(where: str, values: list[str]) -> ClassLabels:
    digest = hashlib.sha256("".join(f"{len(value)}:{value}" for value in values).encode("utf-8", "replace")).hexdigest()
    first = ["".join(sign if sign.isprintable() else "?" for sign in value[:_LONGEST_LABEL]) for value in values]
    return {"of": where, "count": len(values), "sha256": digest, "labels": first[:_SHOWN_LABELS]}
