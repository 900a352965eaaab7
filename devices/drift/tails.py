"""Streaming peaks over threshold: how improbable a value is by its own history. Pure.

Source: the peaks-over-threshold method (J. Pickands, "Statistical inference using extreme order statistics", Annals of
Statistics 3, 1975): above a high threshold, excesses follow a generalised Pareto law. Here its shape is 0, the
exponential law, which has one parameter, the mean excess. Both the threshold and that mean are updated with each value
as in streaming use (A. Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, which fits
the shape as well).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: share of values above the start of a tail: the start follows their 98% quantile
TAIL_SHARE = 0.02
#: score of a value at the start of its tail: -log10(TAIL_SHARE), rounded
QUANTILE_SCORE = 1.699
#: log10(e), rounded: an exponential tail loses a factor e per mean excess, and scores are decimal logarithms
LOG10_E = 0.4343
#: largest score; further out the model says nothing that could be checked
CAP = 30.0
#: reports of a device before its tails are updated: earlier its level and scale still move too much
TAIL_FROM = 12
#: least start of a tail, in the unit of the values; a quiet metric would otherwise flag its own noise
START_LEAST = 1.0
#: weight of one excess in the mean excess (exponential smoothing; about 33 excesses count)
WIDTH_GAIN = 0.03
#: an excess counts at most so many mean excesses, so that one outlier does not widen the tail (Huber's psi, 1964)
MOST_WIDTHS = 6
#: least mean excess, in the unit of the values
WIDTH_LEAST = 0.15


@dataclass(frozen=True, slots=True)
class Law:
    """How the tail of one channel begins.

    Args:
        start: first estimate of its start (98% quantile), in the unit of the values.
        width: first estimate of its mean excess, in the same unit.
        step: step of the quantile estimate per value, in the same unit: stochastic approximation with a constant
            step (H. Robbins and S. Monro, Annals of Mathematical Statistics 22, 1951), so that it never stops to adapt.
    """

    start: float
    width: float
    step: float


#: of spikes: values are absolute deviations in scales (sigma)
SPIKE = Law(3.0, 1.0, 0.08)
#: of shifts: values are cumulative sums of deviations, in scales
SHIFT = Law(6.0, 1.5, 0.25)


def score_tail(value: Array, start: Array, width: Array) -> Array:
    """Return -log10 of the tail probability of each value, at most ``CAP``.

    Below the start of the tail the score is linear in the value: only its order matters there.

    Args:
        value: [D, M] values, not negative.
        start: [D, M] starts of the tails.
        width: [D, M] mean excesses.
    """
    excess = value - start
    above = QUANTILE_SCORE + LOG10_E * excess / width
    return np.minimum(np.where(excess > 0, above, QUANTILE_SCORE * value / start), CAP)


def learn_tail(law: Law, value: Array, start: Array, width: Array, where: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return start and width after one more value, where ``where`` holds.

    The start rises by ``(1 - TAIL_SHARE) * step`` for a value above it and falls by ``TAIL_SHARE * step`` for one
    below, so it rests where a share of ``TAIL_SHARE`` is above. Only values above it change the width.
    """
    over = value > start
    moved = np.where(over, start + (1 - TAIL_SHARE) * law.step, start - TAIL_SHARE * law.step)
    widened = np.maximum(width + WIDTH_GAIN * (np.minimum(value - start, MOST_WIDTHS * width) - width), WIDTH_LEAST)
    return np.where(where, np.maximum(moved, START_LEAST), start), np.where(where & over, widened, width)
