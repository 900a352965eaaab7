"""What pages, the REST API and idle processes cost when the fleet grows: set-ups of three sizes, the same questions."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fleet.environment import ROOT
from fleet.management.benches import growth_processes
from fleet.management.benches.ground import Ground, ground
from fleet.management.benches.growth_rows import answer_rows, process_rows
from fleet.management.benches.rollouts import postgresql
from fleet.management.serving.supervisor import await_signer
from pki.kernel import handover
from pki.kernel.errors import UnavailableError

DATABASES = ("sqlite", "postgresql")
LEAST, SMALL = 10, 10_000
#: devices in the largest set-up
LARGE = {"sqlite": 300_000, "postgresql": 100_000}


def run(databases: Sequence[str] = DATABASES, devices: int = 0, keep: Path | None = None) -> list[dict[str, Any]]:
    """Measure on each of the databases; to fill the largest set-up takes minutes.

    Args:
        databases: to measure on.
        devices: in the largest set-up; 0 for the usual number of each database.
        keep: folder in which filled set-ups stay, and in which they are looked for first.
    """
    rows = []
    for database in databases:
        sizes = sizes_for(database, devices)
        seen = {size: measured(database, size, keep, processes=size == sizes[-1]) for size in sizes}
        rows += answer_rows(database, {size: one["answers"] for size, one in seen.items()})
        rows += process_rows(database, sizes[-1], seen[sizes[-1]])
    return rows


def sizes_for(database: str, devices: int = 0) -> tuple[int, ...]:
    """Return how many devices the set-ups have, rising: the last two are compared by cost, the ends by queries."""
    large = devices or LARGE[database]
    return tuple(sorted({min(LEAST, large), min(SMALL, max(large // 10, 1)), large}))


def measured(database: str, size: int, keep: Path | None = None, *, processes: bool) -> dict[str, Any]:
    """Fill one set-up and ask everything; return what was seen, and as ``failures`` what could not be measured.

    Args:
        database: sqlite or postgresql.
        size: devices.
        keep: where filled set-ups stay.
        processes: measure idle worker, check of the audit log and start as well.
    """
    seen: dict[str, Any] = {"failures": {}, "answers": []}
    with filled(database, size, keep) as made:
        acts: dict[str, Callable[[], Any]] = {"answers": lambda: inner(made, "answers")}
        if processes:
            acts |= {"verify": lambda: growth_processes.verify(made)}
            acts |= {"worker": lambda: growth_processes.idle_worker(made)}
            acts |= {"start_s": lambda: growth_processes.start(made)}
        for name, act in acts.items():
            try:
                seen[name] = act()
            except (RuntimeError, OSError, UnavailableError, subprocess.SubprocessError) as error:
                # What fails at one size is a finding; the rest is measured all the same.
                seen["failures"][name] = f"{type(error).__name__}: {error}"[:300]
                sys.stderr.write(f"{database}, {size} devices, {name}: {seen['failures'][name]}\n")
    return seen


@contextmanager
def filled(database: str, size: int, keep: Path | None = None) -> Iterator[Ground]:
    """Yield a set-up with so many devices and a signer that runs."""
    place = keep / f"{database}-{size}" if keep else None
    if place:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        settings = {"FLEET_LOG_LEVEL": "CRITICAL"}
        if database == "postgresql":
            settings["DATABASE_URL"] = held.enter_context(postgresql(place / "pg" if place else None))
        made = held.enter_context(ground(place, **settings))
        if not (made.folder / "tuf").exists():
            made.processes.run("manage.py", "release", "online-keys")
        made.processes.start("signer", "-m", "pki.signer")
        await_signer(made.folder)
        done = inner(made, "fill", str(size))
        sys.stderr.write(f"{database}, {size} devices: filled, {done}\n")  # progress: a benchmark takes minutes
        yield made


def inner(made: Ground, *arguments: str) -> Any:
    """Do one act of ``growth_inner`` in the set-up and return what it prints.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "fleet.management.benches.growth_inner", *arguments]
    descriptors = handover.descriptors_of(handover.KINDS)
    done = subprocess.run(
        command, cwd=ROOT, env=made.environment(), stdout=subprocess.PIPE, check=False, pass_fds=descriptors
    )
    if done.returncode:
        msg = f"{' '.join(arguments)} ended with {done.returncode}"
        raise RuntimeError(msg)
    return json.loads(done.stdout)
