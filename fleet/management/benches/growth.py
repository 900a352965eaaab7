"""Cost of pages, REST API and idle processes as the fleet grows: the same requests at three sizes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fleet.environment import ROOT
from fleet.management.benches import growth_processes
from fleet.management.benches.ground import BenchSetUp, bench_installation
from fleet.management.benches.growth_rows import Seen, answer_rows, process_rows
from fleet.management.benches.rollouts import temporary_postgresql
from fleet.management.benches.rows import BenchRow
from fleet.management.serving.supervisor import await_signer
from pki.kernel import handover
from pki.kernel.errors import DomainError, UnavailableError

if TYPE_CHECKING:
    from fleet.management.benches.growth_answers import RouteCost

DATABASES = ("sqlite", "postgresql")
LEAST, SMALL = 10, 10_000
SIGNER_WAITS = 12
#: devices in the largest set-up
LARGE = {"sqlite": 300_000, "postgresql": 100_000}


def run(databases: Sequence[str] = DATABASES, devices: int = 0, keep: Path | None = None) -> list[BenchRow]:
    """Measure on each of the databases; filling the largest one takes minutes.

    Args:
        databases: to measure on.
        devices: in the largest installation; 0 for the default of each database.
        keep: folder that keeps filled installations for later runs.
    """
    rows = []
    for database in databases:
        sizes = sizes_for(database, devices)
        seen = {size: measure_set_up(database, size, keep, processes=size == sizes[-1]) for size in sizes}
        rows += answer_rows(database, {size: seen_figures["answers"] for size, seen_figures in seen.items()})
        for size in sizes:
            rows += process_rows(database, size, seen[size])
    return rows


def sizes_for(database: str, devices: int = 0) -> tuple[int, ...]:
    """Return the numbers of devices, ascending: costs are compared for the last two, queries for the first and last."""
    large = devices or LARGE[database]
    return tuple(sorted({min(LEAST, large), min(SMALL, max(large // 10, 1)), large}))


def measure_set_up(database: str, size: int, keep: Path | None = None, *, processes: bool) -> Seen:
    """Fill one installation and make all requests; return the results, with errors in ``failures``.

    Args:
        database: sqlite or postgresql.
        size: devices.
        keep: folder of kept installations.
        processes: whether to measure idle worker, audit-log verification and start as well.
    """
    seen: Seen = {"failures": {}, "answers": []}
    with (
        _noted(seen, f"{database}, {size} devices", "set-up"),
        filled_installation(database, size, keep) as installation,
    ):
        acts: dict[str, Callable[[], Seen]] = {"answers": lambda: {"answers": _answers(installation)}}
        if processes:
            acts |= {"verify": lambda: {"verify": growth_processes.measure_verify(installation)}}
            # Silent devices would change their presence state; none does within the minute of the measurement.
            acts |= {"freshen": lambda: _freshened(installation)}
            acts |= {"worker": lambda: {"worker": growth_processes.idle_worker(installation)}}
            acts |= {"start": lambda: {"start": growth_processes.measure_start(installation)}}
        for name, act in acts.items():
            with _noted(seen, f"{database}, {size} devices", name):
                seen.update(act())
    return seen


@contextmanager
def _noted(seen: Seen, where: str, name: str) -> Iterator[None]:
    """Record an error in the block as a result, and continue with the other measurements."""
    try:
        yield
    except (RuntimeError, OSError, DomainError, subprocess.SubprocessError) as error:
        seen["failures"][name] = f"{type(error).__name__}: {error}"[:300]
        sys.stderr.write(f"{where}, {name}: {seen['failures'][name]}\n")


@contextmanager
def filled_installation(database: str, size: int, keep: Path | None = None) -> Iterator[BenchSetUp]:
    """Yield an installation with this number of devices and a running signer."""
    folder = keep / f"{database}-{size}" if keep else None
    if folder:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        settings = {"FLEET_LOG_LEVEL": "CRITICAL"}
        if database == "postgresql":
            # Next to the installation, not in it: the database runs as another user, without access to installations.
            kept = keep / f"{database}-{size}.pg" if keep else None
            settings["DATABASE_URL"] = held.enter_context(temporary_postgresql(kept))
        installation = held.enter_context(bench_installation(folder, **settings))
        if not (installation.folder / "tuf").exists():
            installation.processes.run("manage.py", "release", "online-keys")
        _start_signer(installation)
        done = run_inner(installation, "fill", str(size))
        sys.stderr.write(f"{database}, {size} devices: filled, {done}\n")  # progress: a benchmark takes minutes
        yield installation


def _start_signer(installation: BenchSetUp) -> None:
    """Start a signer and wait for it, longer than a server does: the machine may be busy."""
    installation.processes.start("signer", "-m", "pki.signer")
    for _ in range(SIGNER_WAITS):
        installation.processes.check()
        with suppress(UnavailableError):
            return await_signer(installation.folder)
    msg = "The signer does not respond."
    raise UnavailableError(msg)


def run_inner(installation: BenchSetUp, *arguments: str) -> object:
    """Run one action of ``growth_inner`` in the installation and return its output.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "fleet.management.benches.growth_inner", *arguments]
    descriptors = handover.descriptors_of(handover.KINDS)
    done = subprocess.run(
        command, cwd=ROOT, env=installation.environment(), stdout=subprocess.PIPE, check=False, pass_fds=descriptors
    )
    if done.returncode:
        msg = f"{' '.join(arguments)} ended with {done.returncode}"
        raise RuntimeError(msg)
    return json.loads(done.stdout)


def _answers(installation: BenchSetUp) -> "list[RouteCost]":
    return cast("list[RouteCost]", run_inner(installation, "answers"))


def _freshened(installation: BenchSetUp) -> Seen:
    run_inner(installation, "freshen")
    return {}
