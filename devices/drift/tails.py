"""Streaming peaks over threshold: how improbable a value is by its own history. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: excess is scored above the 98 % quantile, whose -log10 is 1.699
QUANTILE_SCORE = 1.699
LOG10_E = 0.4343
CAP = 30.0
TAIL_FROM = 12


@dataclass(frozen=True, slots=True)
class Law:
    """Where a tail starts, how wide it is at first, and how fast its start moves."""

    start: float
    width: float
    step: float


SPIKE = Law(3.0, 1.0, 0.08)
SHIFT = Law(6.0, 1.5, 0.25)


def score_tail(value: Array, start: Array, width: Array) -> Array:
    """Return -log10 of the tail probability of each value, at most 30."""
    excess = value - start
    above = QUANTILE_SCORE + LOG10_E * excess / width
    return np.minimum(np.where(excess > 0, above, QUANTILE_SCORE * value / start), CAP)


def learn_tail(law: Law, value: Array, start: Array, width: Array, where: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return start and width after one more value, where ``where`` holds."""
    over = value > start
    moved = np.maximum(np.where(over, start + 0.98 * law.step, start - 0.02 * law.step), 1.0)
    widened = np.maximum(width + 0.03 * (np.minimum(value - start, 6 * width) - width), 0.15)
    return np.where(where, moved, start), np.where(where & over, widened, width)
