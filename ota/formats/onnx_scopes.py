"""Where each value of an ONNX model is made and used: in the main graph, and in the graphs inside attributes. Pure.

A graph inside an attribute (``If``, ``Loop``, ``Scan``) sees the names of the graph around it (ONNX IR specification,
"Names Within a Graph"). One name may mean different values in two branches.
"""

from collections.abc import Iterator

import onnx
import onnx.inliner

from ota.formats.onnx_graph import CONSTANTS, DEFAULT, MOST_NODES, Key, graphs_of, refuse_model

#: a tensor, or an attribute of Constant
Constant = onnx.TensorProto | onnx.AttributeProto


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in which the calls of its own functions are replaced by what they do, where onnx can do that.

    Raises:
        RefusedBundleError: it would have too many nodes.
    """
    if not model.functions:
        return model
    functions = {
        (function.domain or DEFAULT, function.name, function.overload): function for function in model.functions
    }
    sizes: dict[Key, int] = {}
    if _size(model.graph, functions, sizes) > MOST_NODES:
        refuse_model(f"has more than {MOST_NODES} nodes when its functions are put where they are called")
    try:
        return onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError):
        return model  # remaining calls are unknown operators, and their effect counts as unreadable


def _size(
    body: onnx.GraphProto | onnx.FunctionProto, functions: dict[Key, onnx.FunctionProto], sizes: dict[Key, int]
) -> int:
    """Return how many nodes run a graph or function, those of each call counted; ``onnx.checker`` refuses recursion."""
    total = 0
    for node in body.node:
        key = (node.domain or DEFAULT, node.op_type, node.overload)
        if key in functions and key not in sizes:
            sizes[key] = MOST_NODES  # for a function that calls itself
            sizes[key] = _size(functions[key], functions, sizes)
        total += 1 + sizes.get(key, 0) + sum(_size(graph, functions, sizes) for graph in graphs_of(node.attribute))
    return total


class Scope:
    """The values of one graph.

    Args:
        graph: of type GraphProto.
        around: the scope that it is in; None for the main graph.
    """

    def __init__(self, graph: onnx.GraphProto, around: "Scope | None" = None) -> None:
        self.graph, self.around = graph, around
        self.constants: dict[str, Constant] = {tensor.name: tensor for tensor in graph.initializer}
        self.makers: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        self.inner: list[tuple[onnx.NodeProto, Scope]] = []
        self.outputs = [port.name for port in graph.output]
        sparse = {tensor.values.name for tensor in graph.sparse_initializer}
        self.defined = {*(port.name for port in graph.input), *self.constants, *sparse}
        for node in graph.node:
            self._add(node)

    def _add(self, node: onnx.NodeProto) -> None:
        self.makers |= dict.fromkeys(node.output, node)
        self.defined |= set(node.output)
        for index, name in enumerate(node.input):
            self.readers.setdefault(name, []).append((node, index))
        self.inner += [(node, Scope(graph, self)) for graph in graphs_of(node.attribute)]
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name in CONSTANTS and not attribute.ref_attr_name:
                    self.constants[node.output[0]] = attribute

    def owner(self, name: str) -> "Scope | None":
        """Return the scope that defines what a name means here."""
        scope: Scope | None = self
        while scope is not None and name not in scope.defined:
            scope = scope.around
        return scope

    def constant(self, name: str) -> Constant | None:
        """Return the tensor, or the attribute of Constant, that a name means, also through Identity; None for none."""
        scope = self.owner(name)
        while scope is not None and name not in scope.constants:
            maker = scope.makers.get(name)
            if maker is None or maker.op_type != "Identity" or not maker.input:
                return None
            name = maker.input[0]
            scope = scope.owner(name)
        return None if scope is None else scope.constants[name]

    def uses(self, name: str) -> Iterator[tuple["Scope", onnx.NodeProto, int]]:
        """Yield (scope, node, place of the input) of each use of a value, in graphs inside it too.

        The place is -1 for a value that a graph inside the node gives to the node as its result.
        """
        for node, index in self.readers.get(name, ()):
            yield self, node, index
        for node, scope in self.inner:
            if name not in scope.defined:
                yield from scope.uses(name)
                if name in scope.outputs:
                    yield self, node, -1

    def results(self) -> Iterator[tuple["Scope", onnx.NodeProto, int]]:
        """Yield the node around this graph, as a use of what the graph gives it."""
        if self.around is not None:
            yield from ((self.around, node, -1) for node, scope in self.around.inner if scope is self)

    def branches(self, node: onnx.NodeProto) -> "list[Scope]":
        """Return the graphs in the attributes of one of its nodes."""
        return [scope for one, scope in self.inner if one is node]
