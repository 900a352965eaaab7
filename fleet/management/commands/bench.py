"""``manage.py bench NAME --json FILE``: measure, compare with the goal, say what it was measured against."""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandParser

from devices.drift.engine import Shard
from devices.drift.metrics import METRICS

DEVICES, TICKS = 100_000, 5
GOAL_MICROSECONDS = 0.25


class Command(BaseCommand):
    """Run one benchmark."""

    help = "Measure a part of the server; rows hold name, value, unit, goal, met, against."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare name and file."""
        parser.add_argument("name", choices=["drift"])
        parser.add_argument("--json", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Measure and print; write the rows where asked."""
        rows = _drift()
        for row in rows:
            self.stdout.write(f"{row['name']}: {row['value']} {row['unit']} (goal {row['goal']}, met: {row['met']})")
        if options["json"]:
            options["json"].write_text(json.dumps(rows, indent=1) + "\n")


def _drift() -> list[dict[str, Any]]:
    """Time the engine's step over a hundred thousand devices that all report all metrics."""
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
    load = f"{os.getloadavg()[0]:.2f} load, {os.cpu_count()} cores, {DEVICES} devices x {len(METRICS)} metrics"
    return [
        {
            "name": "drift step, a metric of a device",
            "value": round(value, 3),
            "unit": "us",
            "goal": GOAL_MICROSECONDS,
            "met": value <= GOAL_MICROSECONDS,
            "against": f"nothing; {load}",
        }
    ]
