"""Cost of a million devices: memory and start of the poll cache, and the delay of a change on every worker."""

import json
import statistics

from fleet.management.benches.ground import BenchSetUp, start_inner
from fleet.management.benches.rows import BenchRow, bench_row, load_average

MILLION = 1_000_000
WRITERS, EACH, READERS = 4, 2500, 2


def measure_million(installation: BenchSetUp) -> list[BenchRow]:
    """Measure with a million devices in the database; no server runs."""
    loaded = json.loads(start_inner(installation, "load").communicate(timeout=300)[0])
    readers = [start_inner(installation, "read", str(WRITERS * EACH)) for _ in range(READERS)]
    for reader in readers:
        if reader.stdout is None or reader.stdout.readline() != "ready\n":
            msg = "a reader did not start"
            raise RuntimeError(msg)
    writers = [start_inner(installation, "write", str(1 + number * EACH), str(EACH)) for number in range(WRITERS)]
    written = [figure for writer in writers for figure in json.loads(writer.communicate(timeout=600)[0])]
    at = dict(written)
    seen = [json.loads(reader.communicate(timeout=600)[0]) for reader in readers]
    late = sorted(1000 * (when - at[subject]) for one in seen for subject, when in one if subject in at)
    missed = READERS * len(at) - len(late)
    where = f"{loaded['certificates']:.0f} certificates, SQLite; {load_average()}"
    times = f"p50 {statistics.median(late):.0f} ms, worst {late[-1]:.0f} ms"
    feed = f"{WRITERS} writing processes, {len(at)} commits, {READERS} readers; {times}; {where}"
    return [
        bench_row("poll cache loaded at start", loaded["seconds"], "s", 10, where),
        bench_row("poll cache", loaded["bytes"], "bytes a device", 400, where),
        bench_row("a change is there for the next poll, p99", late[int(len(late) * 0.99)], "ms", 100, feed),
        bench_row("changes missed", missed, "changes", 0, feed),
    ]
