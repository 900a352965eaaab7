"""Make golden vectors for a model: what its author ships, so that every device can check that it computes the same."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ota.contract import golden, interpreter
from ota.contract.golden import GoldenVector
from pki.kernel.errors import InvalidError
from pki.kernel.plurals import number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CASES = 16


def make_vectors(
    model: bytes, *, cases: int = CASES, steps: int = 1, seed: int = 1,
    tolerance: float | None = None, inputs: Sequence[Path] | None = None,
) -> bytes:  # fmt: skip
    """Return ``golden.cbor`` with what the reference interpreter computes.

    Args:
        model: a TensorFlow Lite model.
        cases: how many, if the inputs are not given.
        steps: of each case, for models that keep a state from one window to the next.
        seed: of random inputs: the whole range of a quantised type, -1 to 1 of a floating-point one.
        tolerance: how far each element of an output may be off; usually one step, or a thousandth of what a
            floating-point output reaches.
        inputs: a ``.npy`` file for each input of the model; its first dimension counts the cases, and the rest is one
            window or a stream of them.

    Raises:
        InvalidError: the interpreter does not run the model, is not there, or the inputs are not the model's.
    """
    if not interpreter.is_interpreter_installed():
        msg = "There is no `tflite-micro` for this machine; make the vectors on 64-bit x86 Linux."
        raise InvalidError(msg)
    try:
        ports = interpreter.zero_inputs(model)
        given = _read(inputs, ports) if inputs else _drawn(ports, (cases, steps), seed)
        wanted = interpreter.compute_outputs(model, given)
    except (RuntimeError, ValueError, TypeError, IndexError, OSError) as error:
        msg = f"The model does not run on these inputs: {error}."
        raise InvalidError(msg) from error
    tolerated = golden.usual_tolerance(wanted, interpreter.output_kinds(model)) if tolerance is None else tolerance
    vectors = [GoldenVector(tuple(one), out, tolerated) for one, out in zip(given, wanted, strict=True)]
    data = golden.write_vectors(vectors)
    golden.read_vectors(data)  # refuses too few, too many, too long
    if golden.are_constant(vectors):
        msg = "The model returns the same output for all these inputs. Give inputs with different outputs (`--inputs`)."
        raise InvalidError(msg)
    return data


def _drawn(ports: "Sequence[NDArray[np.generic]]", many: tuple[int, int], seed: int) -> list[list[bytes]]:
    source, (cases, steps) = np.random.default_rng(seed), many
    return [[b"".join(_one(source, port).tobytes() for _ in range(steps)) for port in ports] for _ in range(cases)]


def _one(source: np.random.Generator, port: "NDArray[np.generic]") -> "NDArray[np.generic]":
    if port.dtype.kind == "f":
        return source.uniform(-1, 1, port.shape).astype(port.dtype)
    if port.dtype.kind == "b":
        return source.integers(0, 2, port.shape).astype(port.dtype)
    span = np.iinfo(np.dtype(port.dtype.str))
    return source.integers(span.min, span.max, port.shape, dtype=port.dtype, endpoint=True)


def _read(files: Sequence[Path], ports: "Sequence[NDArray[np.generic]]") -> list[list[bytes]]:
    if len(files) != len(ports):
        msg = f"the model has {number_of(len(ports), 'input')} and {number_of(len(files), 'file')} were given"
        raise ValueError(msg)
    columns = []
    for path, port in zip(files, ports, strict=True):
        values = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if values.dtype != port.dtype or values[0].size % port.size:
            msg = f"{path.name} holds {values.dtype} of {values.shape[1:]}, expected {port.dtype} of {port.shape}"
            raise ValueError(msg)
        columns.append([value.tobytes() for value in values])
    return [list(row) for row in zip(*columns, strict=True)]
