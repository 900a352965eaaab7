"""One row of a benchmark's result."""

import os
import sys
from typing import TypedDict


class BenchRow(TypedDict):
    """A figure beside its goal; the JSON of a benchmark is a list of these.

    Args:
        name: what was measured.
        value: the figure.
        unit: of it.
        goal: the issue's, in the same unit.
        met: whether the figure meets it.
        against: what it was compared with, and under which load.
    """

    name: str
    value: float
    unit: str
    goal: float
    met: bool
    against: str


class RouteRow(BenchRow):
    """The row of one route, with what was seen at each size of the fleet (devices -> figure).

    Args:
        ratio: of its cost at the largest size to that at the size before.
        ms: processor time.
        queries: on both databases.
        status: HTTP status.
        missed: which of its goals it misses: ``answers``, ``cpu``, ``ratio``, ``queries``.
    """

    ratio: float
    ms: dict[int, float]
    queries: dict[int, int]
    status: dict[int, int]
    missed: list[str]


def row(name: str, value: float, unit: str, goal: float, against: str, *, least: bool = False) -> BenchRow:
    """Return a row, and tell it, since a benchmark takes minutes.

    Args:
        name: what was measured.
        value: the figure.
        unit: of it.
        goal: the issue's.
        against: what it was compared with, and under which load.
        least: the goal is the least that is wanted, not the most.
    """
    met = value >= goal if least else value <= goal
    sys.stderr.write(
        f"{name}: {value:.3f} {unit} ({'met' if met else 'NOT met'})\n"
    )  # progress: a benchmark takes minutes
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "met": met, "against": against}


def load() -> str:
    """Return how busy the machine is: timed figures are worth nothing without it."""
    return f"{os.getloadavg()[0]:.2f} load, {os.cpu_count()} cores"
