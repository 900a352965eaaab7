"""ONNX models: a detached signature over the file, then an inspection; needs the extra ``models``."""

import importlib.metadata
from collections.abc import Mapping

import onnx
from google.protobuf.message import DecodeError

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts, PortFacts
from ota.formats import detached, magic, onnx_graph, onnx_types
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line
from ota.formats.onnx_quantisation import Quantisation, graph_quantisation
from ota.formats.onnx_scopes import inline_functions

FORMAT = "onnx"
MAX_MODEL = 256 * 1024 * 1024


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the model is, when one of the anchors has signed its file.

    Raises:
        RefusedBundleError: unsigned, signed with an unregistered key, damaged or malicious.
    """
    data = read_whole_file(case.image, MAX_MODEL, "model")
    known = magic.kind_of_bytes(data)
    if known not in {None, FORMAT}:
        msg = f"The file is not an ONNX model: it is {magic.NAMES[str(known)]}. Upload it with its own format."
        raise RefusedBundleError(msg)
    signer, said = detached.verify_detached(case, "A model")
    judgement = judge_onnx(data)
    return Judgement({**judgement.facts, **signer}, [said, *judgement.statements])


def judge_onnx(data: bytes) -> Judgement:
    """Return what a model needs, independent of its signer.

    Raises:
        RefusedBundleError: no valid model, or its weights are in other files.
    """
    facts, tool = inspect_onnx(data), f"onnx {importlib.metadata.version('onnx')}"
    said = report_line("inspection", tool, f"IR {facts['ir_version']}, {facts['nodes']} nodes")
    return Judgement({**facts, "flash": len(data)}, [said])


def inspect_onnx(data: bytes) -> BundleFacts:
    """Return the facts of a model.

    Raises:
        RefusedBundleError: no valid model, or its weights are in other files.
    """
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, TypeError) as error:
        msg = "The file is not a valid ONNX model: it is not a protobuf of the type ModelProto."
        raise RefusedBundleError(msg) from error
    _demand_plain(model)
    walk = onnx_graph.walk_model(model)
    _demand_valid(model)
    given = {one.name for one in model.graph.initializer} | {one.values.name for one in model.graph.sparse_initializer}
    whole = inline_functions(model)
    steps = graph_quantisation(whole)
    return {
        "ir_version": model.ir_version,
        "opset": walk.opset,
        "custom": sorted({name.rpartition(":")[0] for name in walk.custom}),
        "custom_operators": walk.custom,
        "operators": walk.operators,
        "functions": len(model.functions),
        "nodes": walk.nodes,
        "dtypes": onnx_types.computed_types(whole),
        "class_labels": onnx_types.class_labels(model),
        # up to IR 3 every initialiser is an input as well, and later one that is has a default
        "inputs": [_port(port, steps) for port in model.graph.input if port.name not in given],
        "outputs": [_port(port, steps) for port in model.graph.output],
        "weights": {"bytes": sum(tensor.ByteSize() for tensor in onnx_graph.model_tensors(model))},
    }


def _demand_plain(model: onnx.ModelProto) -> None:
    """Refuse what a policy excludes, before anything reads further: ``docs/reference/formats.md``."""
    if model.ir_version > onnx.IR_VERSION:
        msg = (
            f"The model has the IR version {model.ir_version}, but this server supports up to {onnx.IR_VERSION}. Save "
            "it with an older version, or update the `onnx` package of the server."
        )
        raise RefusedBundleError(msg)
    if len(model.training_info):
        msg = "The model carries training information, which devices do not run. Save it without `training_info`."
        raise RefusedBundleError(msg)
    for number, tensor in enumerate(onnx_graph.model_tensors(model)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            msg = "The model keeps weights in other files; only models in one file are accepted."
            raise RefusedBundleError(msg)
        if number >= onnx_graph.MOST_TENSORS:
            onnx_graph.refuse_model(f"has more than {onnx_graph.MOST_TENSORS} tensors")


def _demand_valid(model: onnx.ModelProto) -> None:
    """Let ``onnx.checker`` read the model; what it says is the reason."""
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        said = "".join(char if char.isprintable() else "?" for char in said[:200])
        msg = f"The file is not a valid ONNX model. onnx.checker says: {said}"
        raise RefusedBundleError(msg) from error


def _port(value: onnx.ValueInfoProto, steps: Mapping[str, Quantisation]) -> PortFacts:
    dtype, shape = onnx_types.port_type(value)
    said = steps.get(value.name, Quantisation())
    port: PortFacts = {"name": value.name[:100], "dtype": dtype, "shape": shape}
    port |= {"scale": said.scale, "zero_point": said.zero_point}
    return {**port, "unreadable": said.unreadable} if said.unreadable else port
