"""Time of the drift engine per device and metric."""

import statistics
import time

import numpy as np

from devices.drift.engine import Shard
from devices.drift.metrics import METRICS
from fleet.management.benches.rows import BenchRow, bench_row, load_average

DEVICES, TICKS = 100_000, 5
GOAL_MICROSECONDS = 0.25


def run() -> list[BenchRow]:
    """Time the engine's step for a hundred thousand devices that all report all metrics."""
    random = np.random.default_rng(1)
    shard = Shard()
    shard.admit(np.arange(DEVICES, dtype=np.int64))
    cohort, nobody = np.arange(DEVICES) % 40, np.zeros(DEVICES, bool)
    seconds = []
    for _ in range(TICKS):
        x = random.lognormal(5, 0.1, (DEVICES, len(METRICS)))
        started = time.perf_counter()
        shard.step(x, cohort, nobody, 48, 1.0)
        seconds.append(time.perf_counter() - started)
    value = statistics.median(seconds) / (DEVICES * len(METRICS)) * 1e6
    against = f"nothing; {load_average()}, {DEVICES} devices x {len(METRICS)} metrics"
    return [bench_row("drift step, a metric of a device", value, "us", GOAL_MICROSECONDS, against)]
