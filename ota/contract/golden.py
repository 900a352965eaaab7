"""Golden vectors of a model: inputs with the outputs that its author got, so that a device can detect a bad copy.

``golden.cbor`` is a map ``{"v": 1, "cases": [{"in": [bytes…], "out": [bytes…], "tol": n}]}``: raw little-endian
bytes of each input and output tensor, and how far an output may be off: whole steps of a quantised type, or a number
for floating-point ones. An input of n times its tensor's length is a stream of n steps, and so are the outputs: state
is kept within a case, and never from one to the next. Server and device read it with the same code.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pki.kernel import cbor
from pki.kernel.errors import InvalidError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_GOLDEN = 1 << 20
LEAST_CASES, MOST_CASES = 8, 64
#: reference kernels are exact, optimised ones may be one step off; more than four steps need the author's word
USUAL_TOLERANCE, WIDE_TOLERANCE = 1, 4
_MOST_PORTS = 16
_FLOATS, _SHARE = {"FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8"}, 0.1


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """One vector.

    Args:
        given: bytes of each input tensor.
        wanted: bytes of each output tensor.
        tolerance: how far each element may be off: steps of a quantised type, or a number.
    """

    given: tuple[bytes, ...]
    wanted: tuple[bytes, ...]
    tolerance: float = USUAL_TOLERANCE


def read_vectors(data: bytes) -> tuple[GoldenVector, ...]:
    """Return the cases of a ``golden.cbor``.

    Raises:
        InvalidError: it is none, or has too few or too many cases.
    """
    document: object = cbor.loads(data, max_bytes=MAX_GOLDEN)
    match document:
        case {"v": 1, "cases": [*listed], **rest} if not rest and LEAST_CASES <= len(listed) <= MOST_CASES:
            return tuple(_case(number, vector) for number, vector in enumerate(listed, 1))
        case _:
            msg = f"Golden vectors must be a CBOR map of `v` (1) and `cases`, {LEAST_CASES} to {MOST_CASES} of them."
            raise InvalidError(msg)


def write_vectors(cases: Iterable[GoldenVector]) -> bytes:
    """Return ``golden.cbor`` of cases."""
    listed = [{"in": list(case.given), "out": list(case.wanted), "tol": case.tolerance} for case in cases]
    return cbor.dumps({"v": 1, "cases": listed})


def largest_difference(wanted: bytes, got: "NDArray[np.generic]") -> float:
    """Return the largest difference between an output and what it should be; infinite when they cannot be compared."""
    flat = np.ascontiguousarray(got).reshape(-1)
    if len(wanted) != flat.nbytes:
        return math.inf
    if flat.size == 0:
        return 0.0
    if flat.dtype.kind == "f":
        expected = np.frombuffer(wanted, flat.dtype.newbyteorder("<"))
        with np.errstate(all="ignore"):
            off = np.abs(flat.astype(np.float64) - expected.astype(np.float64))
        return float(np.max(off)) if np.all(np.isfinite(off)) else math.inf
    if flat.dtype.kind in "iub":
        expected = np.frombuffer(wanted, flat.dtype.newbyteorder("<"))
        return float(max(abs(int(a) - int(b)) for a, b in zip(flat.tolist(), expected.tolist(), strict=True)))
    return 0.0 if flat.tobytes() == wanted else math.inf


def are_constant(cases: Sequence[GoldenVector]) -> bool:
    """Return whether all cases expect the same outputs: such vectors cannot detect a broken model."""
    return len({case.wanted for case in cases}) == 1


def usual_tolerance(outputs: Sequence[tuple[bytes, ...]], kinds: Sequence[str]) -> float:
    """Return the tolerance to give by default: one step, or a thousandth of what the smallest output reaches.

    Args:
        outputs: the outputs of each case.
        kinds: numpy's kind of each output, such as ``i1`` or ``f4``.
    """
    floats = [index for index, kind in enumerate(kinds) if kind.startswith("f")]
    reached = [max(_reach(one[index], f"<{kinds[index]}") for one in outputs) / 1000 for index in floats]
    return min([*reached, *([USUAL_TOLERANCE] if len(floats) < len(kinds) else [])])


def is_wide(cases: Sequence[GoldenVector], dtypes: Sequence[str]) -> bool:
    """Return whether a broken model could pass: a tolerance of many steps, or a tenth of a floating-point output.

    Args:
        cases: the vectors.
        dtypes: of the model's outputs, as TensorFlow Lite calls them.
    """
    widest = max(case.tolerance for case in cases)
    return any(not widest <= _most(cases, index, dtype) for index, dtype in enumerate(dtypes))


def _most(cases: Sequence[GoldenVector], index: int, dtype: str) -> float:
    """Return the largest tolerance of an output that still notices a broken model."""
    if dtype not in _FLOATS:
        return WIDE_TOLERANCE
    return _SHARE * max(
        _reach(case.wanted[index], _FLOATS[dtype]) if index < len(case.wanted) else 0.0 for case in cases
    )


def _reach(data: bytes, kind: str) -> float:
    """Return the largest magnitude in an output, 0 where it is unknown."""
    if not data or len(data) % np.dtype(kind).itemsize:
        return 0.0
    with np.errstate(all="ignore"):
        largest = float(np.max(np.abs(np.frombuffer(data, kind).astype(np.float64))))
    return largest if math.isfinite(largest) else 0.0


def _case(number: int, value: object) -> GoldenVector:
    match value:
        case {"in": [*given], "out": [*wanted], "tol": int() | float() as tolerance, **rest} if not rest:
            parts = (*given, *wanted)
            sane = all(isinstance(part, bytes) for part in parts) and 0 < len(given) <= _MOST_PORTS
            if sane and 0 < len(wanted) <= _MOST_PORTS and not isinstance(tolerance, bool) and _is_tolerance(tolerance):
                return GoldenVector(tuple(given), tuple(wanted), tolerance)
    msg = (
        f"Golden vector {number} must be a map of `in` and `out` (lists of byte strings) and `tol` (a number of 0 or "
        "more)."
    )
    raise InvalidError(msg)


def _is_tolerance(value: float) -> bool:
    return math.isfinite(value) and value >= 0
