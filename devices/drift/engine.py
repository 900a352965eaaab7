"""The numeric layer: level, scale, cohort common mode, spike and shift, for all devices at once.

No season and no frozen anchor yet (see ``docs/limits.md``). Arrays have the shape [devices, metrics]; there
is no object and no loop per device. A device that did not report in a tick keeps its state.
"""

import io
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.drift import tails
from devices.drift.metrics import METRICS, least_scales, stabilise_variance
from pki.kernel.errors import InvalidError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

VERSION = 2
#: reports after a change of firmware whose scores are held
HELD_REPORTS = 3
COHORT_LEAST = 5
HALF_LIFE_HOURS = 336
EXCESS_FROM, EXCESS_CAP = 1.7, 8.0
_FIELDS = ("m", "s", "hi", "lo", "h1", "h2", "spike_t", "spike_b", "shift_t", "shift_b")


@dataclass(frozen=True, slots=True)
class DriftStep:
    """The scores of one tick.

    Args:
        score: [D] root of the summed squared excesses over the metrics; 0 while learning or held.
        metric_score: [D, M] -log10 tail probability, the larger one of spike and shift.
        spike: [D, M] True where the spike channel was the larger one.
        z: [D, M] departure from the device's own level after the cohort's common mode, in scales.
        own_z: [D, M] the same before the common mode is taken away.
        expected: [D, M] what was expected, transformed.
    """

    score: Array
    metric_score: Array
    spike: Flags
    z: Array
    own_z: Array
    expected: Array


@dataclass(slots=True)
class Shard:
    """The state of a set of devices.

    Args:
        device: [D] internal ids, rising.
        n: [D] reports seen.
        hold: [D] reports whose scores are still held.
        cohort: [D] number of the cohort at the last tick.
    """

    device: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    n: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    hold: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cohort: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    arrays: dict[str, Array] = field(default_factory=lambda: {name: np.zeros((0, len(METRICS))) for name in _FIELDS})

    def admit(self, devices: NDArray[np.int64]) -> None:
        """Add rows for new devices; rows stay ordered by id."""
        new = np.setdiff1d(devices, self.device)
        if not new.size:
            return
        order = np.argsort(np.concatenate([self.device, new]), kind="stable")
        self.device = np.concatenate([self.device, new])[order]
        for name, value in (("n", 0), ("hold", 0), ("cohort", -1)):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(new.size, value)])[order])
        starts = {"spike_t": tails.SPIKE.start, "spike_b": tails.SPIKE.width}
        starts |= {"shift_t": tails.SHIFT.start, "shift_b": tails.SHIFT.width}
        for name in _FIELDS:
            rows = np.full((new.size, len(METRICS)), starts.get(name, 0.0))
            self.arrays[name] = np.concatenate([self.arrays[name], rows])[order]

    def step(
        self, x: Array, cohort: NDArray[np.int64], frozen: Flags, learn_reports: int, tick_hours: float
    ) -> DriftStep:
        """Score one tick, then learn from it.

        Args:
            x: [D, M] raw values, NaN where nothing was reported.
            cohort: [D] number of the device's cohort now.
            frozen: [D] devices with an open incident: nothing is learned from them.
            learn_reports: reports a device is only watched for.
            tick_hours: length of a tick.
        """
        a = self.arrays
        present = ~np.isnan(x)
        reported: Flags = np.asarray(present.any(axis=1))
        self._changed(cohort, reported)
        y = np.where(present, stabilise_variance(np.nan_to_num(x)), 0.0)
        first = present & (self.n == 0)[:, None]
        a["m"] = np.where(first, y, a["m"])
        seen = np.maximum(self.n, 1)[:, None]
        den = np.maximum(1.2533 * a["s"], least_scales()) * np.sqrt(1 + 1 / seen)
        res = np.where(present, y - a["m"], 0.0)
        mode = _common_mode(res, present & (self.n >= COHORT_LEAST)[:, None], cohort)
        r = np.where(present, res - mode, 0.0)
        z = r / den
        live = (reported & (self.n >= learn_reports) & (self.hold == 0))[:, None] & present
        score, spike = self._channels(z, live, present & ~frozen[:, None])
        self._learn(res, r, den, present & ~frozen[:, None], tick_hours)
        self.n = self.n + reported
        self.hold = np.maximum(self.hold - reported, 0)
        excess = np.clip(score - EXCESS_FROM, 0, EXCESS_CAP)
        total = np.sqrt((excess**2).sum(axis=1))
        return DriftStep(total, score, spike, z, res / den, a["m"] + mode)

    def _changed(self, cohort: NDArray[np.int64], reported: Flags) -> None:
        """Hold the scores of devices whose cohort changed: a change of firmware is a known event."""
        moved = reported & (cohort != self.cohort) & (self.cohort >= 0)
        self.hold = np.where(moved, HELD_REPORTS, self.hold)
        for name in ("hi", "lo", "h1", "h2"):
            self.arrays[name] = np.where(moved[:, None], 0.0, self.arrays[name])
        self.cohort = np.where(reported, cohort, self.cohort)

    def _channels(self, z: Array, live: Flags, learning: Flags) -> tuple[Array, Flags]:
        a = self.arrays
        size = np.abs(z)
        p = np.where(live, tails.score_tail(size, a["spike_t"], a["spike_b"]), 0.0)
        spike = np.median(np.stack([p, a["h1"], a["h2"]]), axis=0)
        a["h2"], a["h1"] = np.where(live, a["h1"], a["h2"]), np.where(live, p, a["h1"])
        clipped = np.clip(z, -4, 4)
        a["hi"] = np.where(live, np.clip(a["hi"] + clipped - 0.75, 0, 40), a["hi"])
        a["lo"] = np.where(live, np.clip(a["lo"] - clipped - 0.75, 0, 40), a["lo"])
        bend = np.maximum(a["hi"], a["lo"])
        shift = np.where(live, tails.score_tail(bend, a["shift_t"], a["shift_b"]), 0.0)
        tail = learning & (self.n >= tails.TAIL_FROM)[:, None]
        a["spike_t"], a["spike_b"] = tails.learn_tail(tails.SPIKE, size, a["spike_t"], a["spike_b"], tail)
        a["shift_t"], a["shift_b"] = tails.learn_tail(tails.SHIFT, bend, a["shift_t"], a["shift_b"], tail & live)
        return np.where(live, np.maximum(spike, shift), 0.0), spike >= shift

    def _learn(self, res: Array, r: Array, den: Array, where: Flags, tick_hours: float) -> None:
        """Let the level follow the raw residual, the scale the cohort-adjusted one; both clipped."""
        a, n = self.arrays, self.n[:, None]
        slow = 1 - 2 ** (-tick_hours / HALF_LIFE_HOURS)
        wild = n < COHORT_LEAST
        moved = np.where(wild, res, np.clip(res, -3 * den, 3 * den))
        spread = np.abs(np.where(wild, r, np.clip(r, -3 * den, 3 * den)))
        a["m"] = np.where(where, a["m"] + np.maximum(slow, 1 / (n + 1)) * moved, a["m"])
        wider = a["s"] + np.maximum(slow, 1 / (n + 1)) * (spread - a["s"])
        a["s"] = np.where(where & (n > 0), wider, a["s"])

    def dumps(self) -> bytes:
        """Return the state as bytes with a checksum."""
        buffer = io.BytesIO()
        # untyped: or else numpy's own types take an array of any name for the flag `allow_pickle`.
        whole: dict[str, Any] = {"device": self.device, "n": self.n, "hold": self.hold, "cohort": self.cohort}
        np.savez(buffer, **whole | self.arrays)
        data = buffer.getvalue()
        return zlib.crc32(data).to_bytes(4, "big") + data

    @classmethod
    def loads(cls, blob: bytes) -> "Shard":
        """Read what ``dumps`` wrote.

        Raises:
            InvalidError: the checksum is wrong.
        """
        if zlib.crc32(blob[4:]).to_bytes(4, "big") != blob[:4]:
            msg = "The stored drift state is damaged. Remove it; the engine then learns a new baseline."
            raise InvalidError(msg)
        with np.load(io.BytesIO(blob[4:]), allow_pickle=False) as data:
            arrays = {name: data[name] for name in _FIELDS}
            return cls(data["device"], data["n"], data["hold"], data["cohort"], arrays)


def threshold(tick_hours: float) -> float:
    """Return θ before there is history: 1.7 at hourly ticks, more when one looks more often.

    Scores are -log10 of a tail probability per tick: the same alarms per week at ticks k times as short need
    log10 k more.
    """
    return EXCESS_FROM + max(0.0, float(np.log10(1 / tick_hours)))


def _common_mode(res: Array, usable: Flags, cohort: NDArray[np.int64]) -> Array:
    """Return [D, M] what each device's cohort did together: the median residual of its reporting members."""
    mode = np.zeros_like(res)
    for number in np.unique(cohort):
        members = cohort == number
        values = np.where(usable[members], res[members], np.nan)
        enough = (~np.isnan(values)).sum(axis=0) >= COHORT_LEAST
        if enough.any():
            middle = np.zeros(res.shape[1])
            middle[enough] = np.nanmedian(values[:, enough], axis=0)
            mode[members] = middle
    return mode
