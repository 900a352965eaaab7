"""TensorFlow Lite Micro with its reference kernels: what a model takes, what it computes, whether it runs at all.

The interpreter is C++ and prints from there; a damaged model may end the whole process. Hence: only in a child process
that nobody will miss.
"""

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypedDict

import numpy as np

from ota.contract import golden
from ota.contract.golden import GoldenVector

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

ARENA = 64 << 20
MOST_STEPS = 1024
_MOST_PORTS = 16
_MOST_SAID = 1 << 16
_FIGURE = re.compile(r"Arena allocation (total|head|tail) (\d+)")


class Port(TypedDict):
    """One input or output tensor, as the interpreter describes it."""

    shape: "Sequence[int]"
    dtype: "DTypeLike"


class Machine(Protocol):
    """What we use of the library's interpreter, which comes without types."""

    def reset(self) -> None:
        """Forget the state."""

    def set_input(self, value: "NDArray[np.generic]", index: int, /) -> None:
        """Set an input tensor."""

    def invoke(self) -> None:
        """Run the model once."""

    def get_output(self, index: int, /) -> "NDArray[np.generic]":
        """Return an output tensor."""

    def print_allocations(self) -> None:
        """Write what was taken of the arena to standard error."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of running a model.

    Args:
        runs: whether the interpreter runs it.
        message: why not.
        total: bytes of arena that it took.
        head: of these for activations.
        tail: of these for what stays.
        failed: number of the first golden vector that came out wrong, 0 when none did.
        difference: the largest of that vector's differences.
    """

    runs: bool
    message: str = ""
    total: int = 0
    head: int = 0
    tail: int = 0
    failed: int = 0
    difference: float = 0.0


def is_interpreter_installed() -> bool:
    """Return whether the interpreter is installed; there is none for every kind of machine."""
    return importlib.util.find_spec("tflite_micro") is not None


def load_interpreter() -> None:
    """Import the interpreter now: afterwards this process may not be allowed to read it."""
    _runtime()


def try_out(model: bytes, cases: Sequence[GoldenVector] = ()) -> Verdict:
    """Run a model once, and once for each golden vector, each time from its first state."""
    said: list[str] = []
    try:
        with _overheard(said):
            machine = _machine(model)
            _compute(machine, [np.zeros(port["shape"], port["dtype"]).tobytes() for port in _ports(machine, "input")])
            machine.print_allocations()
            figures = machine, *_checked(machine, cases)
    except Exception as error:  # noqa: BLE001  because a damaged model may break any reader, and that is a verdict
        return Verdict(runs=False, message=_cause(said, error))
    _, failed, difference = figures
    found = {name: int(number) for name, number in _FIGURE.findall("".join(said))}
    if set(found) != {"total", "head", "tail"}:
        return Verdict(runs=False, message="the interpreter did not report its memory use")
    return Verdict(True, "", found["total"], found["head"], found["tail"], failed, difference)  # noqa: FBT003  because it runs


def compute_outputs(model: bytes, cases: Sequence[Sequence[bytes]]) -> list[tuple[bytes, ...]]:
    """Return what a model computes for each list of inputs, each time from its first state.

    Raises:
        RuntimeError: the interpreter does not run it.
        ValueError: an input has another length than its tensor.
    """
    with _overheard([]):
        machine = _machine(model)
        return [tuple(array.tobytes() for array in _compute(machine, given)) for given in cases]


def zero_inputs(model: bytes) -> "list[NDArray[np.generic]]":
    """Return each input as an array of zeros of its shape and type.

    Raises:
        RuntimeError: the interpreter does not run it.
    """
    with _overheard([]):
        return [np.zeros(port["shape"], port["dtype"]) for port in _ports(_machine(model), "input")]


def output_kinds(model: bytes) -> list[str]:
    """Return the kind of each output, as numpy calls it: ``i1``, ``f4``.

    Raises:
        RuntimeError: the interpreter does not run it.
    """
    with _overheard([]):
        return [np.dtype(port["dtype"]).str[1:] for port in _ports(_machine(model), "output")]


def _machine(model: bytes) -> Machine:
    machine: Machine = _runtime().Interpreter.from_bytes(model, arena_size=ARENA)
    return machine


def _runtime() -> ModuleType:
    from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415  because not every kind of machine has it

    module: ModuleType = runtime
    return module


def _ports(machine: Machine, side: str) -> list[Port]:
    ports: list[Port] = []
    for number in range(_MOST_PORTS):
        try:
            ports.append(getattr(machine, f"get_{side}_details")(number))
        except (IndexError, RuntimeError, ValueError):
            break
    return ports


def _compute(machine: Machine, given: Sequence[bytes]) -> list["NDArray[np.generic]"]:
    """Return the outputs of all steps, one behind the other; a stream keeps its state between them."""
    machine.reset()
    ports = _ports(machine, "input")
    if len(ports) != len(given):
        msg = f"the model has {len(ports)} inputs and {len(given)} were given"
        raise ValueError(msg)
    columns = [_steps(port, data) for port, data in zip(ports, given, strict=True)]
    if len({len(column) for column in columns}) > 1 or not 0 < len(columns[0]) <= MOST_STEPS:
        msg = f"a case must have 1 to {MOST_STEPS} steps, the same number for each input"
        raise ValueError(msg)
    outputs: list[list[NDArray[np.generic]]] = []
    for values in zip(*columns, strict=True):
        for number, (port, value) in enumerate(zip(ports, values, strict=True)):
            machine.set_input(value.astype(port["dtype"]), number)
        machine.invoke()
        outputs.append(
            [np.array(machine.get_output(number)).reshape(-1) for number in range(len(_ports(machine, "output")))]
        )
    return [np.concatenate(one) for one in zip(*outputs, strict=True)]


def _steps(port: Port, data: bytes) -> "NDArray[np.generic]":
    values = np.frombuffer(data, np.dtype(port["dtype"]).newbyteorder("<"))
    return values.reshape((-1, *port["shape"]))


def _checked(machine: Machine, cases: Sequence[GoldenVector]) -> tuple[int, float]:
    """Return number and difference of the first vector that fails, or zeros."""
    for number, case in enumerate(cases, 1):
        try:
            outputs = _compute(machine, case.given)
        except ValueError:
            return number, float("inf")
        if len(outputs) != len(case.wanted):
            return number, float("inf")
        worst = max(
            golden.largest_difference(expected, got) for expected, got in zip(case.wanted, outputs, strict=True)
        )
        if worst > case.tolerance:
            return number, worst
    return 0, 0.0


def _cause(said: Sequence[str], error: Exception) -> str:
    """Return the first thing that the interpreter printed, which names the operator; else the exception's own words."""
    lines = [line.strip() for line in "".join(said).splitlines() if line.strip() and not _FIGURE.search(line)]
    text = lines[0] if lines else str(error)
    return "".join(char for char in text if char.isprintable())[:200]


@contextmanager
def _overheard(said: list[str]) -> Iterator[None]:
    """Keep what C code prints to standard error meanwhile."""
    kept, paper = os.dup(2), os.memfd_create("said")
    os.dup2(paper, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        said.append(os.pread(paper, _MOST_SAID, 0).decode(errors="replace"))
        os.close(paper)
