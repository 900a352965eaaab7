"""What an ONNX model exchanges and computes: quantisation wherever it stands, nested types, classes, types inside."""

import pytest
from onnx import TensorProto, helper, parser

from ota.fit import ModelCapacity, fit_verdict, port_changes
from ota.formats import onnx_model
from tests.regressions import regression

node = helper.make_node


def port(name, kind=TensorProto.UINT8):
    return helper.make_tensor_value_info(name, kind, [1, 4])


def constant(name, value, kind=TensorProto.FLOAT):
    return helper.make_tensor(name, kind, [], [value])


def model(nodes, scale, *, ports=None, further=(), functions=(), domains=("com.acme", "com.microsoft")):
    """Return a model with the constants s (scale) and z (zero point)."""
    inputs, outputs = ports or ([port("x")], [port("y", TensorProto.FLOAT)])
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [constant("s", scale), constant("z", 3, TensorProto.UINT8), *further]
    )
    opsets = [
        helper.make_opsetid("", 17),
        *(helper.make_opsetid(domain, 1) for domain in domains),
        helper.make_opsetid("ai.onnx.ml", 3),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def facts(made):
    return onnx_model.inspect_onnx(made.SerializeToString())


def told(before, after):
    return [(one.acknowledgement, one.text) for one in port_changes(facts(before), facts(after))]


WEIGHTS = helper.make_tensor("w", TensorProto.UINT8, [4, 4], [1] * 16)
KERNEL = helper.make_tensor("k", TensorProto.UINT8, [1, 1, 1, 1], [1])
IMAGE = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 1, 2, 2]) for name in "xy"]
BYTES = ([port("x")], [port("y")])
DEQUANTISED = node("DequantizeLinear", ["v", "s", "z"], ["y"])


def in_a_function(scale):
    body = [node("Constant", [], ["s"], value=constant("s", scale)), node("DequantizeLinear", ["v", "s"], ["y"])]
    made = helper.make_function("com.acme", "Real", ["v"], ["y"], body, [helper.make_opsetid("", 17)])
    return model([node("Real", ["x"], ["y"], domain="com.acme")], 1.0, functions=[made])


def in_a_branch(scale):
    out = [port("y", TensorProto.FLOAT)]
    graphs = [helper.make_graph([node("DequantizeLinear", ["x", "s", "z"], ["y"])], name, [], out) for name in "ab"]
    inside = node("If", ["c"], ["y"], then_branch=graphs[0], else_branch=graphs[1])
    return model([inside], scale, further=[helper.make_tensor("c", TensorProto.BOOL, [], [True])])


def out_of_a_branch(scale):
    graphs = [helper.make_graph([node("Identity", ["x"], ["v"])], name, [], [port("v")]) for name in "ab"]
    inside = node("If", ["c"], ["v"], then_branch=graphs[0], else_branch=graphs[1])
    return model([inside, DEQUANTISED], scale, further=[helper.make_tensor("c", TensorProto.BOOL, [], [True])])


SHAPE = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 4])
#: models by their scale; each reads it in another way
READ = {
    "DequantizeLinear": lambda scale: model([node("DequantizeLinear", ["x", "s", "z"], ["y"])], scale),
    "QLinearMatMul": lambda scale: model([node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])], scale, ports=BYTES, further=[WEIGHTS]),
    "QLinearConv": lambda scale: model([node("QLinearConv", ["x", "s", "z", "k", "s", "z", "s", "z"], ["y"])], scale, ports=([IMAGE[0]], [IMAGE[1]]), further=[KERNEL]),
    "QLinearAdd of ONNX Runtime": lambda scale: model([node("QLinearAdd", ["x", "s", "z", "x", "s", "z", "s", "z"], ["y"], domain="com.microsoft")], scale, ports=BYTES),
    "Identity": lambda scale: model([node("Identity", ["x"], ["v"]), DEQUANTISED], scale),
    "Reshape": lambda scale: model([node("Reshape", ["x", "shape"], ["v"]), DEQUANTISED], scale, further=[SHAPE]),
    "Identity of the scale": lambda scale: model([node("Identity", ["s"], ["t"]), node("DequantizeLinear", ["x", "t", "z"], ["y"])], scale),
    "a function": in_a_function,
    "a branch": in_a_branch,
    "the result of a branch": out_of_a_branch,
    "an output behind Identity": lambda scale: model(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("Identity", ["q"], ["y"])], scale, ports=([port("x", TensorProto.FLOAT)], [port("y")])
    ),
}  # fmt: skip
#: the same, where it cannot be read
UNREADABLE = {
    "a computed scale": lambda scale: model(
        [node("Mul", ["s", "s"], ["t"]), node("DequantizeLinear", ["x", "t", "z"], ["y"])], scale
    ),
    "Cast and Mul": lambda scale: model([node("Cast", ["x"], ["f"], to=1), node("Mul", ["f", "s"], ["y"])], scale),
    "an operator of another domain": lambda scale: model([node("Secret", ["x", "s"], ["y"], domain="com.acme")], scale),
    "an Identity of another domain": lambda scale: model(
        [node("Identity", ["x"], ["v"], domain="com.acme"), DEQUANTISED], scale
    ),
    "MatMulInteger": lambda scale: model(
        [node("MatMulInteger", ["x", "w"], ["m"]), node("Cast", ["m"], ["f"], to=1), node("Mul", ["f", "s"], ["y"])],
        scale,
        further=[WEIGHTS],
    ),
    "an output of Mul and Cast": lambda scale: model(
        [node("Mul", ["x", "s"], ["f"]), node("Cast", ["f"], ["y"], to=2)],
        scale,
        ports=([port("x", TensorProto.FLOAT)], [port("y")]),
    ),
}


@pytest.mark.parametrize("name", READ)
@regression("R14", "ONNX scales in QLinear operators, behind Identity and Reshape, in functions and branches")
def test_another_scale_is_a_change_wherever_it_is_read(name):
    make = READ[name]
    assert told(make(0.5), make(0.5)) == []
    said = told(make(0.5), make(0.25))
    assert said
    assert all(word == "io-changed" and "scale 0.5" in text and "scale 0.25" in text for word, text in said)


@pytest.mark.parametrize("name", UNREADABLE)
@regression("R14", "ONNX quantisation that cannot be read: shown, never the same, refused by a profile with a scale")
def test_a_quantisation_that_cannot_be_read_never_counts_as_the_same(name):
    made = UNREADABLE[name](0.5)
    [(word, text)] = told(made, made)
    assert word == "io-changed"
    assert "with a quantisation that cannot be read (" in text
    side = "outputs" if text.startswith("output") else "inputs"
    wanted = {side: [{"shape": [1, 4], "dtype": "UINT8", "scale": "0.5", "zero_point": 3}]}
    assert [one.kind for one in reasons(made, wanted)] == ["io_mismatch"]


@pytest.mark.parametrize("inside", ["f = Cast <to = 1> (x) y = Relu (f)", "n = Shape (x) y = Cast <to = 1> (n)"])
def test_a_byte_that_is_a_plain_number_has_no_quantisation(inside):
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g (uint8[1,4] x) => (float y) {{ {inside} }}')
    assert told(made, made) == []


def sequence(element):
    value = helper.make_tensor_sequence_value_info("x", element, [1, 4])
    return model([node("SequenceLength", ["x"], ["y"])], 1.0, ports=([value], [helper.make_tensor_value_info("y", TensorProto.INT64, [])]))  # fmt: skip


def zipmap(**classes):
    key = TensorProto.STRING if "classlabels_strings" in classes else TensorProto.INT64
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    out = helper.make_value_info("y", helper.make_sequence_type_proto(kind))
    nodes = [node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", **classes)]
    return model(nodes, 1.0, ports=([port("x", TensorProto.FLOAT)], [out]))


@regression("R14", "ONNX sequences and maps of another type of elements")
def test_types_inside_sequences_and_maps_are_compared():
    [(word, text)] = told(sequence(TensorProto.FLOAT), sequence(TensorProto.INT64))
    assert (word, text) == ("io-changed", "input 0 changes from SEQUENCE(FLOAT32 1x4) to SEQUENCE(INT64 1x4)")
    said = told(zipmap(classlabels_strings=["cat", "dog"]), zipmap(classlabels_int64s=[0, 1]))
    assert said[0][1].endswith("SEQUENCE(MAP(STRING,FLOAT32 scalar)) to SEQUENCE(MAP(INT64,FLOAT32 scalar))")


@regression("R14", "classes inside an ONNX model in another order: attributes of operators and tensors of texts")
def test_reordered_classes_inside_a_model_are_a_change():
    before, after = zipmap(classlabels_strings=["cat", "dog"]), zipmap(classlabels_strings=["dog", "cat"])
    assert told(before, before) == []
    assert told(before, after) == [
        ("labels-changed", "inside the model, ai.onnx.ml:ZipMap.classlabels_strings: labels are reordered: 0: 'cat' -> 'dog', 1: 'dog' -> 'cat'")
    ]  # fmt: skip
    assert [one for one, _ in told(zipmap(classlabels_int64s=[0, 1]), zipmap(classlabels_int64s=[1, 0]))] == [
        "labels-changed"
    ]
    texts = [named(b"cat", b"dog"), named(b"dog", b"cat")]
    assert "labels are reordered" in told(*texts)[0][1]


def test_classes_beyond_what_is_kept_are_compared_too():
    before = [b"%d" % number for number in range(500)]
    [(word, text)] = told(named(*before), named(*before[:-1], b"other"))
    assert (word, text) == ("labels-changed", "inside the model, tensor of 500 texts: labels that are not shown change")
    lists = [[f"{number}".encode()] for number in range(30)]
    changed = [*lists[:-1], [b"other"]]
    assert "further lists: labels that are not shown change" in told(many(lists), many(changed))[0][1]
    assert len(facts(many(lists))["class_labels"]) == 17


def many(lists):
    """Return a model with so many tensors of texts."""
    made = named(b"cat")
    made.graph.initializer.extend(
        helper.make_tensor(f"l{number}", TensorProto.STRING, [len(one)], one) for number, one in enumerate(lists)
    )
    return made


def named(*classes):
    """Return a model that looks up the name of a class."""
    ports = (
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1])],
    )
    names = helper.make_tensor("names", TensorProto.STRING, [len(classes)], list(classes))
    return model([node("Gather", ["names", "x"], ["y"])], 1.0, ports=ports, further=[names])


def reasons(made, runtime):
    found = {**facts(made), "flash": 9, "arena": {"need": 0, "source": "declared"}}
    return fit_verdict("model", "onnx", found, ModelCapacity(1 << 20, 1 << 20, runtime))


def plain(body, head="(float[1,4] x) => (float[1,4] y)"):
    made = f'<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]> g {head} {{ {body} }}'
    return parser.parse_model(made)


def double_in_a_function():
    made = '<domain: "com.acme", opset_import: ["" : 17]> Twice (a) => (b) { d = Cast <to = 11> (a) b = Cast <to = 1> (d) }'
    head = '<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]> g (float[1,4] x) => (float[1,4] y) { y = com.acme.Twice (x) }'
    return parser.parse_model(f"{head}\n{made}")


#: models to what firmware that computes FLOAT32 only lacks
INSIDE = {
    "FLOAT32 alone": (lambda: plain("y = Relu (x)"), []),
    "a shape": (lambda: plain("n = Constant <value = int64[2] {1, 4}> () y = Reshape (x, n)"), []),
    "a Cast": (lambda: plain("d = Cast <to = 11> (x) e = Relu (d) y = Cast <to = 1> (e)"), ["FLOAT64"]),
    "a Cast in a function": (double_in_a_function, ["FLOAT64"]),
    "a constant that computes": (
        lambda: plain("c = Constant <value = double {2.0}> () d = CastLike (x, c) e = Mul (d, c) y = CastLike (e, x)"),
        ["FLOAT64"],
    ),
    "numbers by chance": (lambda: plain("r = RandomNormal <dtype = 11, shape = [1, 4]> () y = Cast <to = 1> (r)"), ["FLOAT64"]),
    "a comparison": (lambda: plain("b = Greater (x, x) y = Where (b, x, x)"), ["BOOL"]),
    "an operator of another domain": (
        lambda: plain("t = com.acme.Secret (x) y = com.acme.Secret (t)"),
        ["UNKNOWN (made by com.acme:Secret)"],
    ),
    "the same, with its type": (lambda: plain("y = com.acme.Secret (x)"), []),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
@regression("R14", "ONNX models that compute in DOUBLE inside, at hardware that has FLOAT32 only")
def test_types_inside_a_model_are_compared_with_the_hardware(name):
    make, missing = INSIDE[name]
    found = reasons(make(), {"dtypes": ["FLOAT32"], "custom_ops": ["com.acme"]})
    assert [(one.kind, one.context["need"]) for one in found] == [("dtype_unsupported", one) for one in missing]


def test_functions_that_unfold_endlessly_are_refused():
    lines = [
        '<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]> g (float[1,4] x) => (float[1,4] y) { y = com.acme.F0 (x) }'
    ]
    for number in range(12):
        inner = " ".join(f"v{at} = com.acme.F{number + 1} (a)" for at in range(4))
        lines.append(
            f'<domain: "com.acme", opset_import: ["" : 17, "com.acme" : 1]> F{number} (a) => (b) {{ {inner} b = Relu (v0) }}'
        )
    lines.append('<domain: "com.acme", opset_import: ["" : 17]> F12 (a) => (b) { b = Relu (a) }')
    with pytest.raises(onnx_model.RefusedBundleError, match="when its functions are put where they are called"):
        facts(parser.parse_model("\n".join(lines)))
