"""Small TensorFlow Lite models, built by the schema's own builder functions."""

import itertools

import flatbuffers
import numpy as np
import tflite


def _vector(builder, start, items, scalar=None):
    start(builder, len(items))
    for one in reversed(items):
        (getattr(builder, scalar) if scalar else builder.PrependUOffsetTRelative)(one)
    return builder.EndVector()


def dense(sizes=(16, 8, 4), seed=1, operator="FULLY_CONNECTED"):
    """Return an int8 model of fully connected layers.

    Args:
        sizes: of the input and of each layer.
        seed: of the weights.
        operator: another name makes a model that no interpreter runs.
    """
    source, builder = np.random.default_rng(seed), flatbuffers.Builder(1024)
    contents, tensors = [b""], []

    def tensor(name, shape, dtype=tflite.TensorType.INT8, data=None):
        if data is not None:
            contents.append(data)
        tensors.append((name, shape, dtype, len(contents) - 1 if data is not None else 0))
        return len(tensors) - 1

    last, operators = tensor("input", (1, sizes[0])), []
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        weights = source.integers(-100, 100, (after, before), dtype=np.int8).tobytes()
        bias = source.integers(-9, 9, after, dtype=np.int32).tobytes()
        inputs = [last, tensor(f"w{number}", (after, before), data=weights)]
        inputs.append(tensor(f"b{number}", (after,), tflite.TensorType.INT32, bias))
        last = tensor(f"out{number}", (1, after))
        operators.append((inputs, [last]))
    return _finish(builder, contents, tensors, operators, ([0], [last]), operator)


def matmul(**changes):
    """Return an ONNX model that multiplies by a constant matrix."""
    import onnx
    from onnx import TensorProto, helper

    weights = onnx.numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w")
    node = helper.make_node(changes.get("op", "MatMul"), ["x", "w"], ["y"], domain=changes.get("domain", ""))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 2))]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [weights])
    if changes.get("external"):
        onnx.external_data_helper.set_external_data(graph.initializer[0], "../../etc/passwd")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def _finish(builder, contents, tensors, operators, ports, operator):
    code = getattr(tflite.BuiltinOperator, operator)
    buffers = []
    for data in contents:
        blob = builder.CreateByteVector(data) if data else None
        tflite.BufferStart(builder)
        if blob is not None:
            tflite.BufferAddData(builder, blob)
        buffers.append(tflite.BufferEnd(builder))
    made = [_tensor(builder, *one) for one in tensors]
    nodes = [_operator(builder, *one) for one in operators]
    inputs, outputs = (_vector(builder, start, ids, "PrependInt32") for start, ids in zip(
        (tflite.SubGraphStartInputsVector, tflite.SubGraphStartOutputsVector), ports, strict=True))  # fmt: skip
    listed = _vector(builder, tflite.SubGraphStartTensorsVector, made)
    steps = _vector(builder, tflite.SubGraphStartOperatorsVector, nodes)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, listed)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, steps)
    graph = tflite.SubGraphEnd(builder)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, code)
    tflite.OperatorCodeAddBuiltinCode(builder, code)
    tflite.OperatorCodeAddVersion(builder, 4)
    made_code = tflite.OperatorCodeEnd(builder)
    codes = _vector(builder, tflite.ModelStartOperatorCodesVector, [made_code])
    graphs = _vector(builder, tflite.ModelStartSubgraphsVector, [graph])
    blobs = _vector(builder, tflite.ModelStartBuffersVector, buffers)
    words = builder.CreateString("made by a test")
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, blobs)
    tflite.ModelAddDescription(builder, words)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(builder, name, shape, dtype, buffer):
    words = builder.CreateString(name)
    dims = _vector(builder, tflite.TensorStartShapeVector, list(shape), "PrependInt32")
    scale = _vector(
        builder,
        tflite.QuantizationParametersStartScaleVector,
        [0.0025 if dtype == tflite.TensorType.INT32 else 0.05],
        "PrependFloat32",
    )
    zero = _vector(builder, tflite.QuantizationParametersStartZeroPointVector, [0], "PrependInt64")
    tflite.QuantizationParametersStart(builder)
    tflite.QuantizationParametersAddScale(builder, scale)
    tflite.QuantizationParametersAddZeroPoint(builder, zero)
    steps = tflite.QuantizationParametersEnd(builder)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, dims)
    tflite.TensorAddType(builder, dtype)
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddName(builder, words)
    tflite.TensorAddQuantization(builder, steps)
    return tflite.TensorEnd(builder)


def _operator(builder, inputs, outputs):
    read = _vector(builder, tflite.OperatorStartInputsVector, inputs, "PrependInt32")
    written = _vector(builder, tflite.OperatorStartOutputsVector, outputs, "PrependInt32")
    tflite.FullyConnectedOptionsStart(builder)
    options = tflite.FullyConnectedOptionsEnd(builder)
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, 0)
    tflite.OperatorAddInputs(builder, read)
    tflite.OperatorAddOutputs(builder, written)
    tflite.OperatorAddBuiltinOptionsType(builder, tflite.BuiltinOptions.FullyConnectedOptions)
    tflite.OperatorAddBuiltinOptions(builder, options)
    return tflite.OperatorEnd(builder)
