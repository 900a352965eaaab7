"""Two workers of two machines, by their holder names, on a database as a server has it; one is killed or stopped.

Neither can see the other one's process, so that only the lease itself says who runs the job.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.factories.story import eventually

SET_UP = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'fleet.settings'\nimport django\ndjango.setup()\n"
#: a worker with one job that writes the worker's letter into a file; minutes are seconds here
WORK = """
import signal, sys, time
from datetime import timedelta
from pathlib import Path
from fleet.jobs import leases
from fleet.jobs.runner import Runner
from fleet.jobs.table import Job
leases.LEASE, leases.HEARTBEAT, leases.SKEW = (timedelta(seconds=one) for one in (1.5, 0.5, 0.5))
name, place, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
def run(_domain):
    with place.open("a") as file:
        file.write(name)
    time.sleep(seconds)
worker = Runner((Job("job", 0.05, run),), f"machine-{name}/1:1")
signal.signal(signal.SIGTERM, lambda *_: worker.stopped.set())
worker.run()
"""
RACE = """
import sys
from fleet.jobs.leases import Leases
mine = Leases(f"machine-{sys.argv[1]}/1:1")
print("ready", flush=True)
input()
for number in range(int(sys.argv[3])):
    print(mine.hold_lease(f"race-{number}"))
"""
RACES = 100
#: who holds the lease, and its fencing number
LOOK = """
from fleet.jobs.models import Lease
print(*Lease.objects.values_list("holder", "fence").get(job="job:default"), sep="|")
"""


class Workers:
    """Processes that run jobs, and what they have left behind."""

    def __init__(self, place, environment):
        self.place, self._environment, self._started = place, environment, []
        place.touch()

    def upgrade(self):
        """Make the databases."""
        command = [sys.executable, "manage.py", "upgrade"]
        subprocess.run(command, env=self._environment, check=True, capture_output=True)

    def lease(self):
        """Return who holds the lease of the job, and its fencing number."""
        done = self.start("", code=LOOK).communicate(timeout=30)[0]
        holder, _, fence = done.strip().partition("|")
        return holder, int(fence)

    def start(self, name, seconds=0, code=WORK):
        """Start a worker whose job takes so many seconds."""
        command = [sys.executable, "-c", SET_UP + code, name, str(self.place), str(seconds)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._started.append(subprocess.Popen(command, env=self._environment, text=True, **pipes))
        return self._started[-1]

    def runs(self):
        """Return the letter of each run's worker, in order."""
        return self.place.read_text()

    def await_run(self, name, many=1):
        """Wait until a worker has run the job so often since now."""
        begun = self.runs().count(name)
        eventually(lambda: self.runs().count(name) >= begun + many, 60, f"{name} never ran: {self.runs()!r}")

    def end(self):
        """End all that were started."""
        for one in self._started:
            one.kill()
            one.communicate()


@contextmanager
def _databases(address):
    """Yield the address of new databases on the server of another one."""
    import psycopg

    name = f"lease_workers_{os.getpid()}"
    names, parts = [name, f"{name}_telemetry"], urlsplit(address)
    with psycopg.connect(parts._replace(path="/postgres").geturl(), autocommit=True) as server:
        for one in names:
            server.execute(f'CREATE DATABASE "{one}"')
        try:
            yield parts._replace(path=f"/{name}").geturl()
        finally:
            for one in names:
                server.execute(f'DROP DATABASE "{one}" WITH (FORCE)')


@pytest.fixture
def workers(tmp_path, db):
    with ExitStack() as held:
        address = os.environ.get("DATABASE_URL", "")
        address = held.enter_context(_databases(address)) if address else ""
        given = {"FLEET_DIR": str(tmp_path), "DATABASE_URL": address, "TELEMETRY_DATABASE_URL": ""}
        made = Workers(tmp_path / "runs", {**os.environ, **given})
        held.callback(made.end)
        made.upgrade()
        yield made


def test_of_workers_that_race_for_free_leases_one_gets_each(workers):
    racers = [workers.start(name, RACES, RACE) for name in "abcd"]
    said = [one.communicate(timeout=60)[0].splitlines() for one in _let_go(racers)]
    for number in range(RACES):
        assert sorted(one[number] for one in said) == ["False", "False", "False", "True"]


def _let_go(racers):
    for one in racers:
        assert one.stdout.readline() == "ready\n"
    for one in racers:
        one.stdin.write("go\n")
        one.stdin.flush()
    return racers


def test_a_job_longer_than_its_lease_is_not_taken_over_while_its_worker_lives(workers):
    workers.start("a", seconds=6)
    workers.await_run("a")
    workers.start("b")
    workers.await_run("a")
    assert set(workers.runs()) == {"a"}
    assert workers.lease() == ("machine-a/1:1", 1)


def test_the_job_of_a_worker_that_was_killed_on_another_machine_goes_on(workers):
    killed = workers.start("a")
    workers.await_run("a")
    workers.start("b")
    killed.kill()
    killed.wait()
    workers.await_run("b")
    assert workers.lease() == ("machine-b/1:1", 2)


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_a_stopped_worker_that_wakes_up_runs_nothing_more_and_leaves_the_lease_alone(workers, seconds):
    stopped = workers.start("a", seconds=seconds)
    workers.await_run("a")
    workers.start("b")
    stopped.send_signal(signal.SIGSTOP)
    workers.await_run("b")
    runs = workers.runs().count("a")
    stopped.send_signal(signal.SIGCONT)
    workers.await_run("b", many=30)  # three heartbeats and more
    # What was under way when it was stopped ends; nothing new begins.
    assert workers.runs().count("a") <= runs + 1
    assert workers.lease() == ("machine-b/1:1", 2)
    stopped.send_signal(signal.SIGTERM)
    assert "a lease was lost to another worker" in stopped.communicate(timeout=30)[1]
    assert workers.lease() == ("machine-b/1:1", 2)


def test_a_worker_that_stops_gives_its_leases_back_at_once(workers):
    leaving = workers.start("a")
    workers.await_run("a")
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(30) == 0
    assert workers.lease() == ("", 1)
    workers.start("b")
    workers.await_run("b")
    assert workers.lease() == ("machine-b/1:1", 2)
