"""One row of a benchmark's result."""

import os
from typing import Any


def row(name: str, value: float, unit: str, goal: float, against: str, *, least: bool = False) -> dict[str, Any]:
    """Return a row; ``least`` says that the goal is the least that is wanted, not the most."""
    met = value >= goal if least else value <= goal
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "met": met, "against": against}


def load() -> str:
    """Return how busy the machine is: timed figures are worth nothing without it."""
    return f"{os.getloadavg()[0]:.2f} load, {os.cpu_count()} cores"
