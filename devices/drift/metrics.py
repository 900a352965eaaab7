"""What the engine knows of each metric: its kind, transform and floor of the scale. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        name: as stored.
        kind: level, rate, count, ratio or signed; it decides the transform and the floor of the scale.
        unit: for people.
        observed: measured by the device gateway, so that no device can forge it.
    """

    name: str
    kind: str
    unit: str
    observed: bool = False


#: in the order of their columns in the stored state
METRICS: tuple[Metric, ...] = (
    Metric("requests", "count", "1/tick", observed=True),
    Metric("bytes_out", "rate", "B/tick"),
    Metric("bytes_in", "rate", "B/tick"),
    Metric("packets_out", "count", "1/tick"),
    Metric("packets_in", "count", "1/tick"),
    Metric("established_peers", "count", "1"),
    Metric("heap_free_b", "level", "B"),
    Metric("temp_c", "signed", "degC"),
    Metric("battery_share", "ratio", "1"),
    Metric("confidence_mean", "ratio", "1"),
)
#: least scale (sigma) by kind, in transformed units: below it differences do not matter to anybody. 0.02 is 2% of a
#: level or rate, 0.5 half the standard deviation of any Poisson count after its transform, 0.25 a quarter of a degree
FLOORS = {"level": 0.02, "rate": 0.02, "count": 0.5, "ratio": 0.02, "signed": 0.25}
#: shares are clipped to [1e-4, 1 - 1e-4], because the logit of 0 and 1 is infinite
_RATIO_EDGE = 1e-4
#: F. J. Anscombe, "The Transformation of Poisson, Binomial and Negative-Binomial Data", Biometrika 35, 1948:
#: 2 sqrt(x + 3/8) of a Poisson count has a standard deviation of nearly 1, whatever its mean
_ANSCOMBE_SHIFT = 0.375


def least_scales() -> Array:
    """Return the least scale of each metric, in transformed units."""
    return np.array([FLOORS[metric.kind] for metric in METRICS])


def stabilise_variance(raw: Array) -> Array:
    """Return values of shape [D, M] in the units in which their noise is uniform.

    ln(1 + x) for levels and rates, Anscombe's square root for counts, the logit for ratios; signed values stay.
    """
    transformed = np.empty_like(raw)
    for column, metric in enumerate(METRICS):
        value = raw[:, column]
        if metric.kind in {"level", "rate"}:
            transformed[:, column] = np.log1p(np.maximum(value, 0))
        elif metric.kind == "count":
            transformed[:, column] = 2 * np.sqrt(np.maximum(value, 0) + _ANSCOMBE_SHIFT)
        elif metric.kind == "ratio":
            share = np.clip(value, _RATIO_EDGE, 1 - _RATIO_EDGE)
            transformed[:, column] = np.log(share / (1 - share))
        else:
            transformed[:, column] = value
    return transformed


def restore_unit(transformed: float, kind: str) -> float:
    """Return one transformed value in the metric's own unit: the inverse of ``forward``, not below 0 for counts."""
    if kind in {"level", "rate"}:
        return float(np.expm1(transformed))
    if kind == "count":
        return float(max((transformed / 2) ** 2 - _ANSCOMBE_SHIFT, 0)) if transformed > 0 else 0.0
    if kind == "ratio":
        return float(1 / (1 + np.exp(-transformed)))
    return float(transformed)
