"""ONNX models in many forms, judged beside ``onnx.checker``, and what the fit gate sees of each."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from ota.errors import RefusedBundleError
from ota.fit import ModelCapacity, fit_verdict
from ota.formats import onnx_graph, onnx_model
from tests.regressions import regression

HEAD = '<ir_version: 8, opset_import: ["" : 13, "com.acme" : 1, "ai.onnx.ml" : 2]>\n'
MAIN = "g (float[1,4] x) => (float[1,4] y)"
SECRET = "com.acme.Secret"


def parsed(text, **changes):
    model = parser.parse_model(text)
    for name, value in changes.items():
        setattr(model, name, value)
    return model


def with_initializer(ir_version, *, as_input):
    """Return x + w, whose constant is an input as well, or not."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "w", "y")]
    weights = numpy_helper.from_array(np.ones((1, 4), np.float32), "w")
    inputs = ports[:2] if as_input else ports[:1]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", inputs, ports[2:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=ir_version)


def sparse():
    model = with_initializer(8, as_input=False)
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [2], [0, 3])
    model.graph.ClearField("initializer")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1, 4]))
    return model


def branches(inside, depth=1):
    """Return a model with one operator inside so many branches, each in the other; the other branches are Relu."""
    domain, _, name = inside.rpartition(".")
    graph = _branch("t", [helper.make_node(name, ["x"], ["y"], domain=domain)])
    for number in range(depth):
        other = _branch(f"e{number}", [helper.make_node("Relu", ["x"], ["y"])])
        graph = _branch(f"t{number}", [helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=other)])
    graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]))
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _branch(name, nodes):
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])])


def loop(inside):
    body = f"l (int64 i, bool c, float[1,4] v) => (bool k, float[1,4] w) {{ k = Identity (c) w = {inside} (v) }}"
    text = (
        f"n = Constant <value = int64 {{3}}> () t = Constant <value = bool {{1}}> () y = Loop <body = {body}> (n, t, x)"
    )
    return parsed(f"{HEAD}{MAIN} {{ {text} }}")


def scan(inside):
    body = f"s (float[4] a) => (float[4] b) {{ b = {inside} (a) }}"
    return parsed(f"{HEAD}{MAIN} {{ y = Scan <num_scan_inputs = 1, body = {body}> (x) }}")


def function(body, call="com.acme.Twice", further="", imports='"" : 13'):
    """Return a model that calls a function which it defines itself."""
    made = f'<domain: "com.acme", opset_import: [{imports}]> Twice (a) => (b) {{ {body} }}'
    return parsed(f"{HEAD}{MAIN} {{ y = {call} (x) }}\n{made}\n{further}")


def usual_branch():
    """Return a function whose branch is an attribute that the call leaves at its usual value."""
    model = branches(SECRET)
    call = helper.make_node("Either", ["c", "x"], ["y"], domain="com.acme")
    inner = model.graph.node[0]
    usual = onnx.AttributeProto()
    usual.CopyFrom(next(one for one in inner.attribute if one.name == "then_branch"))
    usual.name = "branch"
    kept = [one for one in inner.attribute if one.name == "else_branch"]
    asked = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH, ref_attr_name="branch")
    body = onnx.NodeProto(op_type="If", input=["c"], output=["y"], attribute=[*kept, asked])
    made = onnx.FunctionProto(domain="com.acme", name="Either", input=["c", "x"], output=["y"], node=[body])
    made.opset_import.extend(model.opset_import)
    made.attribute_proto.append(usual)
    model.ir_version = 9
    model.functions.append(made)
    del model.graph.node[:]
    model.graph.node.append(call)
    return model


CHAIN = "Inner (a) => (b) { b = com.acme.Secret (a) }"
INNER = f'<domain: "com.acme", opset_import: ["" : 13, "com.acme" : 1]> {CHAIN}'
#: name to model, and the operators that the fit gate has to see
MODELS = {
    "one operator": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}"), {"Relu": 13}),
    "a custom operator": (lambda: parsed(f"{HEAD}{MAIN} {{ y = {SECRET} (x) }}"), {"com.acme:Secret": 1}),
    "a custom operator in a branch": (lambda: branches(SECRET), {"com.acme:Secret": 1, "If": 13, "Relu": 13}),
    "a custom operator three branches deep": (
        lambda: branches(SECRET, 3),
        {"com.acme:Secret": 1, "If": 13, "Relu": 13},
    ),
    "a custom operator in a loop": (
        lambda: loop(SECRET),
        {"com.acme:Secret": 1, "Constant": 13, "Identity": 13, "Loop": 13},
    ),
    "a custom operator in a scan": (lambda: scan(SECRET), {"com.acme:Secret": 1, "Scan": 11}),
    "another operator in a branch": (lambda: branches("Abs"), {"Abs": 13, "If": 13, "Relu": 13}),
    "a local function": (lambda: function("b = Relu (a)"), {"Relu": 13}),
    "a local function with a custom operator": (
        lambda: function(f"b = {SECRET} (a)", imports='"" : 13, "com.acme" : 1'),
        {"com.acme:Secret": 1},
    ),
    "a function in a function": (
        lambda: function("b = com.acme.Inner (a)", further=INNER, imports='"" : 13, "com.acme" : 1'),
        {"com.acme:Secret": 1},
    ),
    "a custom operator in a function's usual attribute": (
        usual_branch,
        {"com.acme:Secret": 1, "If": 13, "Relu": 13},
    ),
    "a function that nothing calls": (
        lambda: function(f"b = {SECRET} (a)", call="Relu", imports='"" : 13, "com.acme" : 1'),
        {"Relu": 13},
    ),
    "a function with an older operator set": (lambda: function("b = Relu (a)", imports='"" : 6'), None),
    "an operator of ai.onnx.ml": (
        lambda: parsed(f"{HEAD}{MAIN} {{ y = ai.onnx.ml.Scaler <offset = [0.0], scale = [1.0]> (x) }}"),
        {"ai.onnx.ml:Scaler": 1},
    ),
    "the default domain by its other name": (
        lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}".replace('"" : 13', '"ai.onnx" : 13')),
        {"Relu": 13},
    ),
    "an initialiser that is an input, IR 3": (lambda: with_initializer(3, as_input=True), {"Add": 13}),
    "an initialiser that is an input, IR 8": (lambda: with_initializer(8, as_input=True), {"Add": 13}),
    "an initialiser that is no input, IR 8": (lambda: with_initializer(8, as_input=False), {"Add": 13}),
    "an initialiser that is no input, IR 3": (lambda: with_initializer(3, as_input=False), None),
    "a sparse initialiser": (sparse, {"Add": 13}),
    "an unknown operator": (lambda: parsed(f"{HEAD}{MAIN} {{ y = NoSuchThing (x) }}"), None),
    "an unknown operator in a branch": (lambda: branches("NoSuchThing"), None),
    "an operator of a domain that is not imported": (lambda: parsed(f"{HEAD}{MAIN} {{ y = org.other.X (x) }}"), None),
    "an operator newer than the operator set": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Gelu (x) }}"), None),
    "an unknown attribute": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu <colour = 3> (x) }}"), None),
    "no IR version": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}", ir_version=0), None),
    "a newer IR version": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}", ir_version=onnx.IR_VERSION + 1), None),
    "a name that nothing makes": (lambda: parsed(f"{HEAD}{MAIN} {{ y = Relu (z) }}"), None),
    "no output": (lambda: parsed(f"{HEAD}g (float[1,4] x) => (float[1,4] z) {{ y = Relu (x) }}"), None),
}  # fmt: skip


def checker_accepts(model):
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, TypeError):
        return False
    return True


def refused(model):
    try:
        onnx_model.inspect_onnx(model.SerializeToString())
    except RefusedBundleError as error:
        return error.detail
    return ""


@pytest.mark.parametrize("name", MODELS)
@regression("C4", "29 ONNX models beside onnx.checker: subgraphs, functions, domains, initialisers as inputs")
def test_models_are_judged_as_the_checker_judges_and_seen_whole(name):
    make, operators = MODELS[name]
    model = make()
    assert checker_accepts(model) == (refused(model) == "") == (operators is not None), refused(model)
    if operators is not None:
        found = onnx_model.inspect_onnx(model.SerializeToString())
        assert {key: one["version"] for key, one in found["operators"].items()} == operators
        assert found["custom_operators"] == [key for key in sorted(operators) if key.startswith("com.acme")]


def test_the_reason_is_the_checkers_own():
    assert "onnx.checker says: No Op registered for NoSuchThing" in refused(MODELS["an unknown operator"][0]())
    newer = refused(MODELS["a newer IR version"][0]())
    assert f"the IR version {onnx.IR_VERSION + 1}, but this server supports up to {onnx.IR_VERSION}" in newer


def external_in_a_branch():
    model = branches("Relu")
    inner = next(onnx_graph.graphs_of(model.graph.node[0].attribute))
    del inner.node[:]
    weights = numpy_helper.from_array(np.ones((1, 4), np.float32), inner.output[0].name)
    onnx.external_data_helper.set_external_data(weights, "../../etc/passwd")
    inner.initializer.append(weights)
    return model


def trained():
    model = parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}")
    model.training_info.append(onnx.TrainingInfoProto())
    return model


def two_versions():
    model = parsed(f"{HEAD}{MAIN} {{ y = Relu (x) }}")
    model.opset_import.append(helper.make_opsetid("ai.onnx", 12))
    return model


POLICIES = {
    "weights in another file, in a branch without nodes": (external_in_a_branch, "weights in other files"),
    "training information": (trained, "training information"),
    "one operator set in two versions": (two_versions, "in two versions"),
    "branches 20 deep": (lambda: branches("Relu", 20), "16 deep"),
}


@pytest.mark.parametrize("name", POLICIES)
@regression("C4", "ONNX models that a policy refuses, each with its own reason")
def test_what_a_policy_refuses_is_refused_with_its_reason(name):
    make, words = POLICIES[name]
    assert words in refused(make())


def codes(model, profile):
    found = onnx_model.inspect_onnx(model.SerializeToString())
    facts = {**found, "flash": 99, "arena": {"need": 0, "source": "not measured"}}
    return [
        (one.kind, one.context["need"])
        for one in fit_verdict("model", "onnx", facts, ModelCapacity(1 << 20, 0, profile))
    ]


@regression("C4", "custom operators in branches, loops and functions at the fit gate")
def test_the_fit_gate_sees_operators_wherever_they_are():
    known = {"If": 13, "Relu": 13, "Loop": 13, "Identity": 13, "Constant": 13}
    for model in (branches(SECRET), loop(SECRET), MODELS["a function in a function"][0]()):
        assert codes(model, {"ops": known}) == [("custom_op", "com.acme:Secret")]
        assert codes(model, {"ops": known, "custom_ops": ["com.acme:Secret"]}) == []
        assert codes(model, {"ops": known, "custom_ops": ["com.acme"]}) == []
        assert codes(model, {"ops": {**known, "com.acme:Secret": 1}}) == []
    assert codes(branches("Abs"), {"ops": known}) == [("op_missing", "Abs")]
    assert codes(branches("Abs"), {"ops": {**known, "Abs": 6}}) == [("op_version", 13)]
    assert codes(MODELS["a local function"][0](), {"ops": {"Relu": 13}}) == []


@regression("C4", "initialisers that are inputs as well (IR 3)")
def test_initialisers_are_no_inputs_of_the_application():
    for ir_version in (3, 8):
        found = onnx_model.inspect_onnx(with_initializer(ir_version, as_input=True).SerializeToString())
        assert [one["name"] for one in found["inputs"]] == ["x"]


@regression("R14", "scales of ONNX models that stand in any form of Constant")
@pytest.mark.parametrize("value", ["value_float = 0.25", "value_floats = [0.25]", "value = float {0.25}"])
def test_a_scale_is_read_from_every_form_of_constant(value):
    text = f"s = Constant <{value}> () y = DequantizeLinear (x, s)"
    model = parsed(f"{HEAD}g (int8[1,4] x) => (float[1,4] y) {{ {text} }}")
    (port,) = onnx_model.inspect_onnx(model.SerializeToString())["inputs"]
    assert (port["scale"], port["zero_point"]) == ("0.25", 0)
