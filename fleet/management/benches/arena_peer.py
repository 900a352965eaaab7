"""Measure the tensor arena that TensorFlow Lite Micro uses, for models and parts, in a process of its own.

usage: arena_peer.py FOLDER PARTS SEED. Writes parts of each model into FOLDER/parts, prints file name to bytes as JSON.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import flatbuffers
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

LEAST_OPERATORS = 3
CHILD = """
import sys
import numpy as np
from tflite_micro import runtime
it = runtime.Interpreter.from_file(sys.argv[1], arena_size=64 << 20)
for number in range(8):
    try:
        d = it.get_input_details(number)
    except (RuntimeError, IndexError, ValueError):
        break
    it.set_input(np.zeros(d["shape"], d["dtype"]), number)
it.invoke()
it.print_allocations()
"""


def main() -> None:
    """Cut, run, print."""
    folder, parts, source = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))  # noqa: S311  because it picks parts
    (folder / "parts").mkdir()
    for path in sorted(folder.glob("*.tflite")):
        data = path.read_bytes()
        many = schema.Model.GetRootAsModel(data, 0).Subgraphs(0).OperatorsLength()
        for _ in range(parts if many > LEAST_OPERATORS else 0):
            first = source.randrange(0, many - LEAST_OPERATORS)
            last = source.randrange(first + LEAST_OPERATORS, many + 1)
            if cut := cut_graph(data, first, last):
                (folder / "parts" / f"{path.stem}-{first}-{last}.tflite").write_bytes(cut)
    arenas = {str(path.relative_to(folder)): measure_arena(path) for path in sorted(folder.rglob("*.tflite"))}
    sys.stdout.write(json.dumps({name: size for name, size in arenas.items() if size}))


def measure_arena(path: Path) -> int:
    """Return the bytes that the real interpreter uses, or 0 if it does not run the model."""
    said = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True, timeout=120, check=False)
    match = re.search(r"total\D*?(\d+)", said.stderr)
    return int(match[1]) if match and said.returncode == 0 else 0


def cut_graph(data: bytes, first: int, last: int) -> bytes | None:
    """Return the part of a model's main graph between two operators as a separate model, or None."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    graph = model.subgraphs[0]
    operators, rest = graph.operators[first:last], graph.operators[last:]
    if any(operator.intermediates is not None and len(operator.intermediates) for operator in operators):
        return None
    made = {int(tensor) for operator in operators for tensor in operator.outputs if tensor >= 0}
    used = {int(tensor) for operator in operators for tensor in operator.inputs if tensor >= 0}
    known = {tensor for tensor in used if _constant(model, graph, tensor)}
    later = {int(tensor) for one in rest for tensor in one.inputs} | {int(tensor) for tensor in graph.outputs}
    kept = sorted(used | made)
    numbers = {tensor: index for index, tensor in enumerate(kept)}
    inputs, outputs = sorted(used - made - known), sorted(made & later)
    if not inputs or not outputs:
        return None
    graph.tensors = [graph.tensors[tensor] for tensor in kept]
    _keep_buffers(model, graph)
    for operator in operators:
        operator.inputs = [numbers.get(int(tensor), -1) for tensor in operator.inputs]
        operator.outputs = [numbers[int(tensor)] for tensor in operator.outputs]
    graph.operators = operators
    graph.inputs, graph.outputs = [numbers[number] for number in inputs], [numbers[output] for output in outputs]
    model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _constant(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> bool:
    data = model.buffers[graph.tensors[tensor].buffer].data
    return data is not None and len(data) > 0


def _keep_buffers(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    kept, places = [model.buffers[0]], {}
    for tensor in graph.tensors:
        if tensor.buffer not in places:
            places[tensor.buffer] = len(kept)
            kept.append(model.buffers[tensor.buffer])
        tensor.buffer = places[tensor.buffer]
    model.buffers = kept


if __name__ == "__main__":
    main()
