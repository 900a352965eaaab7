"""Size of three months of hourly metrics in the telemetry database, as rows and packed, and the cost of reads."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TypedDict, cast

from fleet.environment import ROOT
from fleet.management.benches.ground import bench_installation
from fleet.management.benches.rollouts import temporary_postgresql
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from pki.kernel import handover

DATABASES = ("sqlite", "postgresql")
DEVICES, DAYS, METRICS = 30, 90, 8
#: bytes per value; values packed per second of processor time; largest slowdown of a read
GOAL_BYTES, GOAL_A_SECOND, GOAL_RATIO = 12.0, 50_000.0, 1.1


class PackingFigures(TypedDict):
    """Measurements before and after packing the past days.

    Args:
        values: number of stored values.
        bytes: size of the values in the database, including rows of days that are not over.
        behaviour_ms: read of one device over two weeks; processor time, median.
        drift_ms: scoring one tick of all devices; processor time, median.
        packed: number of packed values, in ``seconds`` of this process's processor time.
    """

    values: int
    bytes: tuple[float, float]
    behaviour_ms: tuple[float, float]
    drift_ms: tuple[float, float]
    packed: int
    seconds: float


def run(databases: Sequence[str] = DATABASES, devices: int = DEVICES) -> list[BenchRow]:
    """Measure on each of the databases.

    Args:
        databases: databases to measure.
        devices: number of devices with values.
    """
    rows = []
    for database in databases:
        rows += packing_rows(database, devices, measure_packing(database, devices))
    return rows


def measure_packing(database: str, devices: int) -> PackingFigures:
    """Fill a temporary installation, pack, and return the measurements.

    Raises:
        RuntimeError: the measuring process failed.
    """
    with ExitStack() as held:
        settings = {"FLEET_LOG_LEVEL": "CRITICAL"}
        if database == "postgresql":
            settings["DATABASE_URL"] = held.enter_context(temporary_postgresql())
        installation = held.enter_context(bench_installation(None, **settings))
        command = [sys.executable, "-m", "fleet.management.benches.packing_inner", str(devices), str(DAYS)]
        descriptors = handover.descriptors_of(handover.KINDS)
        done = subprocess.run(
            command, cwd=ROOT, env=installation.environment(), stdout=subprocess.PIPE, check=False, pass_fds=descriptors
        )
        if done.returncode:
            msg = f"The measuring process exited with {done.returncode}."
            raise RuntimeError(msg)
        return cast("PackingFigures", json.loads(done.stdout))


def packing_rows(database: str, devices: int, seen: PackingFigures) -> list[BenchRow]:
    """Return the rows of one database."""
    values = f"{METRICS} metrics, {DAYS} days of hours, {seen['values']} values"
    where = f"{database}, {devices} devices, {values}; {load_average()}"
    one_row = f"{seen['bytes'][0] / seen['values']:.1f} as one row a value; {where}"
    told = [
        bench_row(f"{database}: bytes a value", seen["bytes"][1] / seen["values"], "bytes", GOAL_BYTES, one_row),
        bench_row(
            f"{database}: values packed", seen["packed"] / seen["seconds"], "1/s", GOAL_A_SECOND, where, least=True
        ),
    ]
    for name, key in (("two weeks of a device are read", "behaviour_ms"), ("one tick is scored", "drift_ms")):
        before, after = seen["behaviour_ms"] if key == "behaviour_ms" else seen["drift_ms"]
        told.append(
            bench_row(f"{database}: {name}", after, "ms", before * GOAL_RATIO, f"{before:.2f} ms before; {where}")
        )
    return told
