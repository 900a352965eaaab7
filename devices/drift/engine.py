"""The numeric layer: level, scale, cohort common mode, spike and shift, for all devices at once. Pure.

No season and no frozen anchor yet (see ``docs/limits.md``). Arrays have the shape [devices, metrics]; there
is no object and no loop per device. A device that did not report in a tick keeps its state.

The method, in the order of ``Shard.step``: values are transformed so that their noise is uniform
(``devices.drift.metrics``). The deviation from the device's own level is taken, the median deviation of its cohort is
taken away, and the rest is divided by the device's own scale. Two channels look at it: spikes (the middle one of
three scores) and shifts (a two-sided CUSUM; E. S. Page, "Continuous Inspection Schemes", Biometrika 41, 1954). Both are
scored by the probability of their tail (``devices.drift.tails``).
"""

import io
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.drift import tails
from devices.drift.baseline import SHORT_MEMORY, STORED_AS, MetricBaseline, fresh_baseline, merge_baselines
from devices.drift.metrics import least_scales, stabilise_variance
from pki.kernel.errors import InvalidError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

#: of the stored state; another one is not read
VERSION = 2
#: length of the checksum before the stored state
_CHECKSUM_BYTES = 4
#: reports after a change of firmware whose scores are held
HELD_REPORTS = 3
#: devices of a cohort that must report before it has a common mode; also the reports of a device before it counts
#: there, and before its values are clipped
COHORT_LEAST = 5
#: half-life of level and scale, in hours (two weeks): exponential smoothing with the gain 1 - 2^(-tick/half-life)
#: (S. W. Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1, 1959)
HALF_LIFE_HOURS = 336
#: sqrt(pi/2), rounded: the standard deviation of normal values per mean absolute deviation (R. C. Geary, "The Ratio of
#: the Mean Deviation to the Standard Deviation as a Test of Normality", Biometrika 27, 1935)
MEAN_DEVIATION_TO_SIGMA = 1.2533
#: a deviation counts at most so many scales in level and scale, so that one outlier does not move them (Huber's psi:
#: P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964)
LEARNED_DEVIATION = 3
#: the same in the cumulative sums: one spike is no shift
SUMMED_DEVIATION = 4
#: reference value of the CUSUM, in scales: half of the shift that it detects fastest (Page 1954), which is 1.5 scales
SUM_REFERENCE = 0.75
#: largest cumulative sum, in scales: after a shift has ended, the sum is 0 again within 40 / 0.75 = 53 reports
SUM_MOST = 40
#: a metric counts from this score on: -log10 of the share of values in a tail (2%)
EXCESS_FROM = 1.7
#: and counts at most so much above it, so that one metric alone does not hide the others
EXCESS_CAP = 8.0


@dataclass(frozen=True, slots=True)
class DriftStep:
    """The scores of one tick.

    Args:
        score: [D] root of the summed squared excesses over the metrics; 0 while learning or held.
        metric_score: [D, M] -log10 tail probability, the larger one of spike and shift.
        is_spike: [D, M] True where the spike channel was the larger one.
        cohort_z: [D, M] deviation from the device's own level after the cohort's common mode, in scales (sigma).
        own_z: [D, M] the same before the common mode is taken away.
        expected: [D, M] what was expected, transformed.
    """

    score: Array
    metric_score: Array
    is_spike: Flags
    cohort_z: Array
    own_z: Array
    expected: Array


@dataclass(slots=True)
class Shard:
    """The state of a set of devices.

    Args:
        device: [D] internal ids, rising.
        reports: [D] reports seen.
        held: [D] reports whose scores are still held.
        cohort: [D] number of the cohort at the last tick; -1 before the first.
        baseline: [D, M] what is learned of each metric.
    """

    device: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    reports: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    held: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    cohort: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    baseline: MetricBaseline = field(default_factory=lambda: fresh_baseline(0))

    def admit(self, devices: Numbers) -> None:
        """Add rows for new devices; rows stay ordered by id."""
        new = np.setdiff1d(devices, self.device)
        if not new.size:
            return
        order = np.argsort(np.concatenate([self.device, new]), kind="stable")
        self.device = np.concatenate([self.device, new])[order]
        for name, value in (("reports", 0), ("held", 0), ("cohort", -1)):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(new.size, value)])[order])
        self.baseline = merge_baselines(self.baseline, fresh_baseline(new.size), order)

    def step(self, raw: Array, cohort: Numbers, frozen: Flags, learn_reports: int, tick_hours: float) -> DriftStep:
        """Score one tick, then learn from it.

        The scale grows by sqrt(1 + 1/n) while the level is the mean of only n reports: the standard error of a
        prediction by a mean.

        Args:
            raw: [D, M] values in their own units, NaN where nothing was reported.
            cohort: [D] number of the device's cohort now.
            frozen: [D] devices with an open incident: nothing is learned from them.
            learn_reports: reports a device is only watched for.
            tick_hours: length of a tick.
        """
        base = self.baseline
        present = ~np.isnan(raw)
        reported: Flags = np.asarray(present.any(axis=1))
        self._changed(cohort, reported)
        values = np.where(present, stabilise_variance(np.nan_to_num(raw)), 0.0)
        first = present & (self.reports == 0)[:, None]
        base.level = np.where(first, values, base.level)
        seen = np.maximum(self.reports, 1)[:, None]
        scale = np.maximum(MEAN_DEVIATION_TO_SIGMA * base.mean_deviation, least_scales()) * np.sqrt(1 + 1 / seen)
        deviation = np.where(present, values - base.level, 0.0)
        mode = _common_mode(deviation, present & (self.reports >= COHORT_LEAST)[:, None], cohort)
        remainder = np.where(present, deviation - mode, 0.0)
        cohort_z = remainder / scale
        live = (reported & (self.reports >= learn_reports) & (self.held == 0))[:, None] & present
        learning = present & ~frozen[:, None]
        score, is_spike = self._channels(cohort_z, live, learning)
        self._learn(deviation, remainder, scale, learning, tick_hours)
        self.reports = self.reports + reported
        self.held = np.maximum(self.held - reported, 0)
        excess = np.clip(score - EXCESS_FROM, 0, EXCESS_CAP)
        total = np.sqrt((excess**2).sum(axis=1))
        return DriftStep(total, score, is_spike, cohort_z, deviation / scale, base.level + mode)

    def _changed(self, cohort: Numbers, reported: Flags) -> None:
        """Hold the scores of devices whose cohort changed: a change of firmware is a known event."""
        moved = reported & (cohort != self.cohort) & (self.cohort >= 0)
        self.held = np.where(moved, HELD_REPORTS, self.held)
        for name in SHORT_MEMORY:
            setattr(self.baseline, name, np.where(moved[:, None], 0.0, getattr(self.baseline, name)))
        self.cohort = np.where(reported, cohort, self.cohort)

    def _channels(self, cohort_z: Array, live: Flags, learning: Flags) -> tuple[Array, Flags]:
        """Return the larger score of both channels, and where it is the one of spikes; update sums and tails."""
        base = self.baseline
        size = np.abs(cohort_z)
        tail = np.where(live, tails.score_tail(size, base.spike_start, base.spike_width), 0.0)
        # The median of three reports: a spike has to be seen twice in three reports.
        spike = np.median(np.stack([tail, base.last_tail, base.tail_before]), axis=0)
        base.tail_before = np.where(live, base.last_tail, base.tail_before)
        base.last_tail = np.where(live, tail, base.last_tail)
        summed = np.clip(cohort_z, -SUMMED_DEVIATION, SUMMED_DEVIATION)
        base.sum_up = np.where(live, _next_sum(base.sum_up, summed), base.sum_up)
        base.sum_down = np.where(live, _next_sum(base.sum_down, -summed), base.sum_down)
        largest = np.maximum(base.sum_up, base.sum_down)
        shift = np.where(live, tails.score_tail(largest, base.shift_start, base.shift_width), 0.0)
        settled = learning & (self.reports >= tails.TAIL_FROM)[:, None]
        base.spike_start, base.spike_width = tails.learn_tail(
            tails.SPIKE, size, base.spike_start, base.spike_width, settled
        )
        base.shift_start, base.shift_width = tails.learn_tail(
            tails.SHIFT, largest, base.shift_start, base.shift_width, settled & live
        )
        return np.where(live, np.maximum(spike, shift), 0.0), spike >= shift

    def _learn(self, deviation: Array, remainder: Array, scale: Array, where: Flags, tick_hours: float) -> None:
        """Let the level follow the raw deviation, the scale the cohort-adjusted one; both clipped."""
        base, reports = self.baseline, self.reports[:, None]
        gain = np.maximum(1 - 2 ** (-tick_hours / HALF_LIFE_HOURS), 1 / (reports + 1))
        early, most = reports < COHORT_LEAST, LEARNED_DEVIATION * scale
        moved = np.where(early, deviation, np.clip(deviation, -most, most))
        spread = np.abs(np.where(early, remainder, np.clip(remainder, -most, most)))
        base.level = np.where(where, base.level + gain * moved, base.level)
        wider = base.mean_deviation + gain * (spread - base.mean_deviation)
        base.mean_deviation = np.where(where & (reports > 0), wider, base.mean_deviation)

    def dumps(self) -> bytes:
        """Return the state as bytes: CRC-32 (4 bytes, big-endian), then an archive of arrays (``numpy.savez``)."""
        buffer = io.BytesIO()
        # untyped: or else numpy's own types take an array of any name for the flag `allow_pickle`.
        whole: dict[str, Any] = {"device": self.device, "n": self.reports, "hold": self.held, "cohort": self.cohort}
        np.savez(buffer, **whole | {key: getattr(self.baseline, name) for name, key in STORED_AS.items()})
        data = buffer.getvalue()
        return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data

    @classmethod
    def loads(cls, blob: bytes) -> "Shard":
        """Read what ``dumps`` wrote.

        Raises:
            InvalidError: the checksum is wrong.
        """
        checksum, stored = blob[:_CHECKSUM_BYTES], blob[_CHECKSUM_BYTES:]
        if zlib.crc32(stored).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
            msg = "The stored drift state is damaged. Remove it; the engine then learns a new baseline."
            raise InvalidError(msg)
        with np.load(io.BytesIO(stored), allow_pickle=False) as data:
            baseline = MetricBaseline(**{name: data[key] for name, key in STORED_AS.items()})
            return cls(data["device"], data["n"], data["hold"], data["cohort"], baseline)


def threshold(tick_hours: float) -> float:
    """Return θ before there is history: 1.7 at hourly ticks, more when one looks more often.

    Scores are -log10 of a tail probability per tick: the same alarms per week at ticks k times as short need
    log10 k more.
    """
    return EXCESS_FROM + max(0.0, float(np.log10(1 / tick_hours)))


def _next_sum(before: Array, deviation: Array) -> Array:
    """Return a one-sided cumulative sum after one more deviation (Page 1954), bounded above."""
    return np.clip(before + deviation - SUM_REFERENCE, 0, SUM_MOST)


def _common_mode(deviation: Array, usable: Flags, cohort: Numbers) -> Array:
    """Return [D, M] what each device's cohort did together: the median deviation of its reporting members."""
    mode = np.zeros_like(deviation)
    for number in np.unique(cohort):
        members = cohort == number
        values = np.where(usable[members], deviation[members], np.nan)
        enough = (~np.isnan(values)).sum(axis=0) >= COHORT_LEAST
        if enough.any():
            middle = np.zeros(deviation.shape[1])
            middle[enough] = np.nanmedian(values[:, enough], axis=0)
            mode[members] = middle
    return mode
