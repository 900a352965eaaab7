"""Leases: a job runs in one process at a time, and does not wait for a process that is gone."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.environment import ROOT
from fleet.jobs import holders, runner
from fleet.jobs.leases import HEARTBEAT, LEASE, SKEW, Leases, forget_leases
from fleet.jobs.models import Lease
from fleet.jobs.table import Job, list_jobs
from pki.kernel import clock

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 30, 12, tzinfo=UTC)
NAME, MOMENT = "ledger:default", timedelta(milliseconds=1)


def held(name, holder="elsewhere/1:1"):
    """Let another process hold the lease of a job."""
    Lease.objects.create(job=name, holder=holder, until=clock.now() + LEASE)


def row():
    """Return who holds the lease, and its fencing number."""
    lease = Lease.objects.get(job=NAME)
    return lease.holder, lease.fence


@pytest.fixture
def workers():
    """Return workers of two machines: neither can tell whether the other one lives."""
    return Leases("machine-a/1:1"), Leases("machine-b/1:1")


@pytest.fixture
def at():
    """Return how to hold the clock at a time after the start."""
    return lambda after: clock.frozen(START + after)


@pytest.fixture
def other():
    """Return another process of this machine, and the name under which it holds leases."""
    told = "from fleet.jobs import holders; print(holders.own_holder(), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", told], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_a_job_that_another_process_runs_is_left_to_it(domain):
    done = []
    held(f"ledger:{domain.slug}")
    assert not runner.Runner().once(Job("ledger", 1, done.append), domain)
    assert done == []


def test_leases_that_a_backup_brought_back_are_given_up(domain):
    done = []
    held(f"ledger:{domain.slug}")
    forget_leases()
    assert runner.Runner().once(Job("ledger", 1, done.append), domain)
    assert done == [domain]


def test_a_process_that_runs_keeps_its_lease(domain, other):
    done = []
    held(f"ledger:{domain.slug}", other[1])
    assert not runner.Runner().once(Job("ledger", 1, done.append), domain)
    assert done == []


def test_the_lease_of_a_killed_process_is_taken_over_at_once(domain, other):
    done, (process, name) = [], other
    held(f"ledger:{domain.slug}", name)
    process.kill()
    process.wait()
    assert runner.Runner().once(Job("ledger", 1, done.append), domain)
    assert done == [domain]


def test_a_process_that_got_the_number_of_a_killed_one_does_not_keep_its_lease():
    place, _, process = holders.own_holder().rpartition("/")
    assert not holders.is_holder_gone(f"{place}/{process}")
    assert holders.is_holder_gone(f"{place}/{os.getpid()}:1")


def test_whoever_ran_elsewhere_or_before_the_machine_started_is_waited_for():
    assert not holders.is_holder_gone("0123456789abcdef.4026531836/999999999:1")
    assert not holders.is_holder_gone("elsewhere:1")
    assert not holders.is_holder_gone("")


def test_a_job_that_runs_for_hours_keeps_its_lease_while_its_worker_renews_it(workers, at):
    holder, contender = workers
    with at(timedelta(0)):
        assert holder.hold_lease(NAME)
    for beats in range(1, 500):
        with at(beats * HEARTBEAT - MOMENT):
            assert not contender.hold_lease(NAME)
        with at(beats * HEARTBEAT):
            holder.renew_leases()
    assert row() == ("machine-a/1:1", 1)


def test_a_lease_that_is_not_renewed_is_taken_over_after_a_minute_and_not_before(workers, at):
    silent, contender = workers
    with at(timedelta(0)):
        assert silent.hold_lease(NAME)
    with at(LEASE + SKEW - MOMENT):
        assert not contender.hold_lease(NAME)
    with at(timedelta(minutes=1)):
        assert contender.hold_lease(NAME)
    assert row() == ("machine-b/1:1", 2)


def test_whoever_wakes_up_after_a_take_over_runs_nothing_and_changes_nothing(workers, at):
    sleeper, contender = workers
    with at(timedelta(0)):
        assert sleeper.hold_lease(NAME)
    with at(timedelta(seconds=70)):
        assert contender.hold_lease(NAME)
        before = Lease.objects.values().get()
        sleeper.note_run(NAME, "the run that was under way failed")
        assert not sleeper.hold_lease(NAME)
        sleeper.renew_leases()
        sleeper.give_back(NAME)
        assert not sleeper.hold_lease(NAME)
        assert Lease.objects.values().get() == before


def test_a_lost_lease_is_noticed_by_the_heartbeat_too(workers, at):
    sleeper, contender = workers
    with at(timedelta(0)):
        assert sleeper.hold_lease(NAME)
    with at(LEASE + SKEW):
        assert contender.hold_lease(NAME)
    with at(LEASE - MOMENT):  # the sleeper's clock is a little more behind than it may be
        assert sleeper.hold_lease(NAME)
        sleeper.renew_leases()
        assert not sleeper.hold_lease(NAME)
    assert row() == ("machine-b/1:1", 2)


def test_whoever_wakes_up_before_anybody_took_its_lease_goes_on_with_it(workers, at):
    sleeper, contender = workers
    with at(timedelta(0)):
        assert sleeper.hold_lease(NAME)
    with at(timedelta(hours=1)):
        assert sleeper.hold_lease(NAME)
        assert not contender.hold_lease(NAME)
    assert row() == ("machine-a/1:1", 1)


def test_a_holder_that_was_taken_over_and_took_its_job_back_has_a_higher_number(workers, at):
    first, second = workers
    with at(timedelta(0)):
        assert first.hold_lease(NAME)
    with at(timedelta(minutes=2)):
        assert second.hold_lease(NAME)
    with at(timedelta(minutes=4)):
        assert not first.hold_lease(NAME)
        assert first.hold_lease(NAME)
        second.renew_leases()
        assert not second.hold_lease(NAME)
    assert row() == ("machine-a/1:1", 3)


def test_an_earlier_holding_of_the_same_worker_saves_nothing_over_its_present_one(workers, at):
    first, second = workers
    with at(timedelta(0)):
        assert first.hold_lease(NAME)
    stale = first._held[NAME]
    with at(timedelta(minutes=2)):
        assert second.hold_lease(NAME)
        second.give_back(NAME)
        first.renew_leases()
        assert first.hold_lease(NAME)
        assert not first._row(stale).update(failure="late")
    assert row() == ("machine-a/1:1", 3)


@pytest.mark.parametrize("ahead", [-SKEW + MOMENT, SKEW - MOMENT])
def test_clocks_that_differ_a_little_let_nobody_take_a_lease_that_is_still_held(workers, at, ahead):
    holder, contender = workers
    with at(timedelta(0)):
        assert holder.hold_lease(NAME)
    for late in (timedelta(0), HEARTBEAT, LEASE - MOMENT):
        with at(late):
            assert holder.hold_lease(NAME)
        with at(late + ahead):
            assert not contender.hold_lease(NAME)


def test_an_end_far_ahead_from_a_clock_that_was_wrong_holds_nobody_up(workers, at):
    wrong, contender = workers
    with at(timedelta(days=300)):
        assert wrong.hold_lease(NAME)
    with at(timedelta(0)):
        assert contender.hold_lease(NAME)


def test_a_worker_whose_clock_was_set_back_asks_before_it_runs_a_job(workers, at):
    holder, contender = workers
    with at(timedelta(0)):
        assert holder.hold_lease(NAME)
    with at(timedelta(minutes=2)):
        assert contender.hold_lease(NAME)
    with at(timedelta(hours=-1)):
        assert not holder.hold_lease(NAME)


def test_a_lease_that_is_given_back_is_free_at_once(workers, at):
    leaving, contender = workers
    with at(timedelta(0)):
        assert leaving.hold_lease(NAME)
        leaving.give_back(NAME)
        assert contender.hold_lease(NAME)
    assert row() == ("machine-b/1:1", 2)


def test_runs_of_a_held_job_ask_the_database_nothing_and_write_nothing(domain):
    worker, job = runner.Runner(), Job("ledger", 1, lambda _domain: None)
    assert worker.once(job, domain)
    with CaptureQueriesContext(connection) as asked:
        assert all(worker.once(job, domain) for _ in range(100))
    assert len(asked) == 0


def test_a_job_of_the_whole_server_runs_once_for_all_domains(domain, other_domain):
    done = []
    job, worker = Job("blobs", 1, done.append, server_wide=True), runner.Runner(holder="machine-a/1:1")
    assert worker.once(job, domain)
    assert not runner.Runner(holder="machine-b/1:1").once(job, other_domain)
    assert (done, Lease.objects.get().job) == ([domain], "blobs")


def test_a_round_of_a_job_of_the_whole_server_is_one_run(domain, other_domain):
    done = []
    for wide, runs in ((True, 1), (False, 2)):
        done.clear()
        runner.Runner((), "machine-a/1:1")._round(Job("blobs", 1, done.append, server_wide=wide), set())
        assert len(done) == runs


def test_the_jobs_that_ignore_the_domain_are_of_the_whole_server():
    assert {job.name for job in list_jobs() if job.server_wide} == {"presence", "changes", "blobs"}


def test_the_heartbeat_saves_how_the_last_run_ended(domain):
    def failing(_domain):
        msg = "no space"
        raise OSError(msg)

    worker = runner.Runner(holder="machine-a/1:1")
    name = f"ledger:{domain.slug}"
    assert worker.once(Job("ledger", 1, failing), domain)
    worker._leases.renew_leases()
    lease = Lease.objects.get(job=name)
    assert (lease.failure, lease.ran_at is None) == ("OSError: no space", False)
    assert worker.once(Job("ledger", 1, lambda _domain: None), domain)
    worker._leases.give_back(name)
    lease.refresh_from_db()
    assert (lease.failure, lease.holder) == ("", "")
