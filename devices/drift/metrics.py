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
        kind: level, rate, count, ratio or signed; it decides the transform.
        unit: for people.
        observed: measured by the device gateway, so that no device can forge it.
    """

    name: str
    kind: str
    unit: str
    observed: bool = False


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
FLOORS = {"level": 0.02, "rate": 0.02, "count": 0.5, "ratio": 0.02, "signed": 0.25}
_RATIO_EDGE = 1e-4


def least_scales() -> Array:
    """Return the least scale of each metric, in transformed units."""
    return np.array([FLOORS[metric.kind] for metric in METRICS])


def stabilise_variance(x: Array) -> Array:
    """Return values of shape [D, M] in the units in which their noise is uniform."""
    y = np.empty_like(x)
    for column, metric in enumerate(METRICS):
        value = x[:, column]
        if metric.kind in {"level", "rate"}:
            y[:, column] = np.log1p(np.maximum(value, 0))
        elif metric.kind == "count":
            y[:, column] = 2 * np.sqrt(np.maximum(value, 0) + 0.375)
        elif metric.kind == "ratio":
            share = np.clip(value, _RATIO_EDGE, 1 - _RATIO_EDGE)
            y[:, column] = np.log(share / (1 - share))
        else:
            y[:, column] = value
    return y


def restore_unit(y: float, kind: str) -> float:
    """Return one transformed value in the metric's own unit."""
    if kind in {"level", "rate"}:
        return float(np.expm1(y))
    if kind == "count":
        return float(max((y / 2) ** 2 - 0.375, 0)) if y > 0 else 0.0
    if kind == "ratio":
        return float(1 / (1 + np.exp(-y)))
    return float(y)
