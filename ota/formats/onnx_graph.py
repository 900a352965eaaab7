"""Walk an ONNX model: every operator that runs it, in subgraphs and local functions too, and every tensor in the file.

Sources: ``onnx.proto`` and the ONNX IR specification. An operator is identified by domain, name and the version of the
operator set that introduced it (``since_version``); a call of a function that the model defines itself is no operator.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import onnx

from ota.errors import RefusedBundleError
from ota.facts import OperatorUse

MOST_NODES, MOST_TENSORS, DEEPEST = 100_000, 100_000, 16
#: ``ai.onnx`` is another spelling of the default domain
DEFAULT = "ai.onnx"
STANDARD = {DEFAULT, "ai.onnx.ml"}
#: attributes of Constant that hold numbers
CONSTANTS = {"value", "value_float", "value_floats", "value_int", "value_ints"}
Key = tuple[str, str, str]


@dataclass(slots=True)
class Walk:
    """What runs a model.

    Args:
        functions: of the model, by domain, name and overload.
        counts: (domain, operator) to the number of its nodes.
        versions: (domain, operator) to the highest version of it that is needed.
        opset: domain to the highest version that is imported where operators are used.
        nodes: how many there are in all graphs and functions.
    """

    functions: Mapping[Key, onnx.FunctionProto]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    opset: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    _entered: set[Key] = field(default_factory=set)

    def graph(self, nodes: Iterable[onnx.NodeProto], imported: Mapping[str, int], depth: int = 0) -> None:
        """Count the operators of a graph, of the graphs in its attributes, and of the functions that it calls.

        Raises:
            RefusedBundleError: there are too many nodes, or graphs are nested too deeply.
        """
        if depth > DEEPEST:
            refuse_model(f"nests graphs and functions more than {DEEPEST} deep")
        for node in nodes:
            self.nodes += 1
            if self.nodes > MOST_NODES:
                refuse_model(f"has more than {MOST_NODES} nodes")
            self._node(node, imported, depth)
            for inner in graphs_of(node.attribute):
                self.graph(inner.node, imported, depth + 1)

    def _node(self, node: onnx.NodeProto, imported: Mapping[str, int], depth: int) -> None:
        domain = node.domain or DEFAULT
        key = (domain, node.op_type, node.overload)
        called = self.functions.get(key)
        if called is None or domain in STANDARD:
            self._count(domain, node.op_type, imported.get(domain, 0))
        if called is not None and key not in self._entered:
            self._entered.add(key)
            own = imported_opsets(called.opset_import)
            self.graph(called.node, own, depth + 1)
            for usual in graphs_of(called.attribute_proto):  # for attributes that the call does not give
                self.graph(usual.node, own, depth + 1)

    def _count(self, domain: str, name: str, imported: int) -> None:
        version = operator_since(domain, name, imported)
        self.counts[domain, name] += 1
        self.versions[domain, name] = max(version, self.versions.get((domain, name), 0))
        self.opset[domain] = max(imported, self.opset.get(domain, 0))

    @property
    def custom(self) -> list[str]:
        """Return the operators of other domains than ONNX's own, as ``domain:name``."""
        return sorted(operator_name(domain, name) for domain, name in self.counts if domain not in STANDARD)

    @property
    def operators(self) -> dict[str, OperatorUse]:
        """Return operator to count and version."""
        rows = sorted((operator_name(*key), number, self.versions[key]) for key, number in self.counts.items())
        return {name: {"count": number, "version": version} for name, number, version in rows}


def walk_model(model: onnx.ModelProto) -> Walk:
    """Return what runs a model.

    Raises:
        RefusedBundleError: it is too large, or imports one operator set twice.
    """
    functions = {
        (function.domain or DEFAULT, function.name, function.overload): function for function in model.functions
    }
    if len(functions) != len(model.functions):
        refuse_model("defines a function twice")
    walk = Walk(functions)
    imported = imported_opsets(model.opset_import)
    walk.opset |= imported
    walk.graph(model.graph.node, imported)
    return walk


def imported_opsets(opsets: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Return domain to version of imported operator sets.

    Raises:
        RefusedBundleError: one is imported twice.
    """
    found: dict[str, int] = {}
    for opset in opsets:
        domain = opset.domain or DEFAULT
        if found.setdefault(domain, opset.version) != opset.version:
            refuse_model(f"imports the operator set {domain[:60]!r} in two versions")
    return found


def operator_since(domain: str, name: str, imported: int) -> int:
    """Return the version in which an operator is used: of ONNX's own the one that introduced it in this form."""
    if domain in STANDARD:
        try:
            schema = onnx.defs.get_schema(name, imported, "" if domain == DEFAULT else domain)
        except onnx.defs.SchemaError:
            return imported
        return int(schema.since_version)
    return imported


def operator_name(domain: str, name: str) -> str:
    """Return an operator as profiles name it: ``Relu``, ``ai.onnx.ml:Scaler``, ``com.acme:Secret``."""
    text = name if domain == DEFAULT else f"{domain}:{name}"
    return "".join(char if char.isprintable() else "?" for char in text[:120])


def graphs_of(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in attributes, empty ones too."""
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def model_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: initialisers, sparse ones, and those in attributes of graphs and functions.

    Raises:
        RefusedBundleError: graphs are nested too deeply.
    """
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
        yield from _of_attributes(function.attribute_proto)


def _of_graph(graph: onnx.GraphProto, depth: int = 0) -> Iterator[onnx.TensorProto]:
    if depth > DEEPEST:
        refuse_model(f"nests graphs more than {DEEPEST} deep")
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node, depth)


def _of_nodes(nodes: Iterable[onnx.NodeProto], depth: int = 0) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        yield from _of_attributes(node.attribute, depth)


def _of_attributes(attributes: Iterable[onnx.AttributeProto], depth: int = 0) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
    for inner in graphs_of(attributes):
        yield from _of_graph(inner, depth + 1)


def refuse_model(why: str) -> NoReturn:
    """Refuse a model.

    Raises:
        RefusedBundleError: always.
    """
    msg = f"The model {why} and is refused."
    raise RefusedBundleError(msg)
