"""What the engine keeps of each metric of each device, and the names under which it is stored. Pure."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from devices.drift import tails
from devices.drift.metrics import METRICS

Array = NDArray[np.float64]


@dataclass(slots=True)
class MetricBaseline:
    """The learned state: arrays of the shape [devices, metrics], in transformed units or in scales (sigma).

    Args:
        level: running mean of the values, transformed.
        mean_deviation: running mean of the absolute deviations from level and cohort, transformed.
        sum_up: cumulative sum of deviations upwards, in scales.
        sum_down: the same downwards.
        last_tail: spike score of the last report.
        tail_before: spike score of the report before the last one.
        spike_start: start of the tail of absolute deviations (98% quantile), in scales.
        spike_width: mean excess above it, in scales.
        shift_start: start of the tail of the larger cumulative sum, in scales.
        shift_width: mean excess above it, in scales.
    """

    level: Array
    mean_deviation: Array
    sum_up: Array
    sum_down: Array
    last_tail: Array
    tail_before: Array
    spike_start: Array
    spike_width: Array
    shift_start: Array
    shift_width: Array


#: attribute -> name of its array in the stored state, which never changes; in stored order
STORED_AS = {
    "level": "m",
    "mean_deviation": "s",
    "sum_up": "hi",
    "sum_down": "lo",
    "last_tail": "h1",
    "tail_before": "h2",
    "spike_start": "spike_t",
    "spike_width": "spike_b",
    "shift_start": "shift_t",
    "shift_width": "shift_b",
}
#: what a device that was never heard begins with; 0 for all others
_FIRST = {
    "spike_start": tails.SPIKE.start,
    "spike_width": tails.SPIKE.width,
    "shift_start": tails.SHIFT.start,
    "shift_width": tails.SHIFT.width,
}
#: what is forgotten when a device changes its cohort: sums and scores of deviations from another common mode
SHORT_MEMORY = ("sum_up", "sum_down", "last_tail", "tail_before")


def fresh_baseline(devices: int) -> MetricBaseline:
    """Return the baseline of devices of which nothing is known."""
    shape = (devices, len(METRICS))
    return MetricBaseline(
        **{field.name: np.full(shape, _FIRST.get(field.name, 0.0)) for field in fields(MetricBaseline)}
    )


def merge_baselines(first: MetricBaseline, second: MetricBaseline, order: NDArray[np.int64]) -> MetricBaseline:
    """Return the rows of both, one after the other, then in another order."""
    return MetricBaseline(
        **{name: np.concatenate([getattr(first, name), getattr(second, name)])[order] for name in STORED_AS}
    )
