"""What a kind of device can run of machine-learning models: its firmware's runtime, as its owner declares it. Pure.

An empty profile says nothing, and nothing but flash and arena is compared then.
"""

import re
from collections.abc import Callable

from devices import labels
from pki.kernel.errors import InvalidError

RUNTIMES = ("tflm", "litert", "onnx")
DTYPES = frozenset(
    {"FLOAT16", "FLOAT32", "FLOAT64", "INT4", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
     "BOOL", "STRING", "COMPLEX64", "COMPLEX128", "RESOURCE", "VARIANT"}
)  # fmt: skip
FIELDS = frozenset(
    {"runtime", "schema_max", "ops", "custom_ops", "dtypes", "kernel_factor", "inputs", "outputs", "labels"}
)
#: of ONNX with the domain in front, unless it is the default one
_OPERATOR = re.compile(r"[A-Z][A-Z0-9_]{0,59}|([A-Za-z0-9_.-]{1,60}:)?[A-Z][A-Za-z0-9_]{0,59}")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,120}")
_SCALE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?(e[-+]?[0-9]{1,2})?")
_PORT = {"shape", "dtype", "scale", "zero_point"}
_FACTOR = re.compile(r"[1-9]\.[0-9]{1,3}|[1-9]")
MOST_OPERATORS, MOST_PORTS, MOST_DIMENSIONS, MOST_VERSION, LARGEST = 400, 16, 8, 1000, 1 << 31


def parse_runtime_profile(document: object) -> dict[str, object]:
    """Return a runtime profile that an operator gives.

    Args:
        document: ``runtime`` (tflm, litert, onnx), ``schema_max`` (number), ``ops`` (``"all"``, or operator to its
            highest version), ``custom_ops`` and ``dtypes`` (lists), ``kernel_factor`` (decimal text, at least 1: how
            much more arena this device's kernels take than the reference ones), ``inputs`` and ``outputs`` (lists of
            ``{"shape", "dtype"}`` with ``scale`` (decimal text) and ``zero_point`` (number) where they matter: what the
            installed application exchanges with a model), ``labels`` (list: what the elements of its first output stand
            for). All may be left out.

    Raises:
        InvalidError: it says which field is wrong.
    """
    if not isinstance(document, dict) or not set(document) <= FIELDS:
        msg = f"A runtime profile must be a map with some of these fields: {', '.join(sorted(FIELDS))}."
        raise InvalidError(msg)
    rules: dict[str, Callable[[object], object]] = {
        "runtime": lambda value: value in RUNTIMES,
        "schema_max": lambda value: _number(value, MOST_VERSION),
        "ops": lambda value: value == "all" or _operators(value),
        "custom_ops": lambda value: _listed(value, _NAME.fullmatch),
        "dtypes": lambda value: _listed(value, DTYPES.__contains__),
        "kernel_factor": lambda value: isinstance(value, str) and _FACTOR.fullmatch(value),
        "inputs": _ports,
        "outputs": _ports,
        "labels": lambda value: isinstance(value, list) and labels.are_labels(value),
    }
    for name, value in document.items():
        if not rules[name](value):
            msg = (
                f"The field {name} of the runtime profile is not valid. See docs/reference/models.md for the "
                "accepted values."
            )
            raise InvalidError(msg)
    return dict(document)


def _number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def _operators(value: object) -> bool:
    if not isinstance(value, dict) or len(value) > MOST_OPERATORS:
        return False
    return all(
        isinstance(name, str) and _OPERATOR.fullmatch(name) is not None and _number(version, MOST_VERSION)
        for name, version in value.items()
    )


def _listed(value: object, fits: Callable[[str], object]) -> bool:
    if not isinstance(value, list) or len(value) > MOST_OPERATORS:
        return False
    return all(isinstance(item, str) and bool(fits(item)) for item in value)


def _ports(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MOST_PORTS and all(map(_port, value))


def _port(value: object) -> bool:
    if not isinstance(value, dict) or not {"shape", "dtype"} <= set(value) <= _PORT:
        return False
    if not _quantisation(value.get("scale", "1"), value.get("zero_point", 0)):
        return False
    shape, dtype = value["shape"], value["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        return False
    return (
        isinstance(shape, list)
        and len(shape) <= MOST_DIMENSIONS
        and all(_number(dimension, LARGEST) for dimension in shape)
    )


def _quantisation(scale: object, zero_point: object) -> bool:
    """Return whether a scale is a positive decimal text, and a zero point one that a 32-bit number holds."""
    if not isinstance(scale, str) or not _SCALE.fullmatch(scale) or float(scale) <= 0:
        return False
    return isinstance(zero_point, int) and not isinstance(zero_point, bool) and -LARGEST <= zero_point < LARGEST
