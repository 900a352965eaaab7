"""A seeded fleet for the engine: ordinary noise, firmware waves, and one device that may misbehave."""

import numpy as np

from devices.drift.metrics import METRICS

NAMES = [metric.name for metric in METRICS]
LEVELS = {"requests": 3, "bytes_out": 40_000, "packets_out": 60}
LEVELS |= {"established_peers": 3, "heap_free_b": 90_000, "temp_c": 40}


class SyntheticFleet:
    """Rows of raw values, tick by tick.

    Args:
        seed: of everything.
        devices: how many; three hardware models in turn.
    """

    def __init__(self, seed, devices=51):
        self.random = np.random.default_rng(seed)
        self.devices = devices
        self.hardware = np.arange(devices) % 3
        self.version = np.zeros(devices, np.int64)
        self.own = {name: np.exp(self.random.normal(0, 0.3, devices)) for name in LEVELS}

    def cohort(self):
        return self.hardware * 10 + self.version

    def tick(self, faulty=None):
        x = np.full((self.devices, len(NAMES)), np.nan)
        for name, level in LEVELS.items():
            column = NAMES.index(name)
            if name == "requests":
                values = self.random.poisson(level, self.devices).astype(float)
            else:
                values = level * self.own[name] * np.exp(self.random.normal(0, 0.1, self.devices))
            # New firmware talks more and leaves less heap: the cohort's common mode, nobody's fault.
            if name == "bytes_out":
                values = values * (1 + 0.6 * (self.version > 0))
            x[:, column] = values
        if faulty is not None:
            for name in ("bytes_out", "packets_out"):
                x[faulty, NAMES.index(name)] *= 20
        return x
