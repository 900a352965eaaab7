"""Rows of a benchmark's result."""

import os
import sys
from typing import TypedDict


class BenchRow(TypedDict):
    """A measured value and its goal; the JSON of a benchmark is a list of rows.

    Args:
        name: measured quantity.
        value: measured value.
        unit: unit of the value.
        goal: goal in the same unit.
        met: whether the value meets the goal.
        against: reference of the comparison, and load of the machine.
    """

    name: str
    value: float
    unit: str
    goal: float
    met: bool
    against: str


class RouteRow(BenchRow):
    """The row of one route, with measurements for each fleet size (devices -> value).

    Args:
        ratio: of its cost at the largest size to that at the size before.
        ms: processor time.
        queries: on both databases.
        status: HTTP status.
        missed: goals that it misses: ``answers``, ``cpu``, ``ratio``, ``queries``.
    """

    ratio: float
    ms: dict[int, float]
    queries: dict[int, int]
    status: dict[int, int]
    missed: list[str]


def bench_row(name: str, value: float, unit: str, goal: float, against: str, *, least: bool = False) -> BenchRow:
    """Return a row, and print it, since a benchmark takes minutes.

    Args:
        name: measured quantity.
        value: measured value.
        unit: unit of the value.
        goal: goal in the same unit.
        against: reference of the comparison, and load of the machine.
        least: whether the goal is a minimum, not a maximum.
    """
    met = value >= goal if least else value <= goal
    sys.stderr.write(
        f"{name}: {value:.3f} {unit} ({'met' if met else 'NOT met'})\n"
    )  # progress: a benchmark takes minutes
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "met": met, "against": against}


def load_average() -> str:
    """Return the load of the machine: timings mean nothing without it."""
    return f"{os.getloadavg()[0]:.2f} load, {os.cpu_count()} cores"
