"""One row of a benchmark's result."""

import os
import sys
from typing import Any


def row(name: str, value: float, unit: str, goal: float, against: str, *, least: bool = False) -> dict[str, Any]:
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
