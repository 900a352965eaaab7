"""Leases: a job runs in one process at a time, and does not wait for a process that is gone."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from fleet.environment import ROOT
from fleet.jobs import holders, runner
from fleet.jobs.models import Lease
from fleet.jobs.table import Job
from pki.kernel import clock

pytestmark = pytest.mark.django_db


def held(name, holder="elsewhere/1:1"):
    """Let another process hold the lease of a job."""
    Lease.objects.create(job=name, holder=holder, until=clock.now() + timedelta(seconds=50))


@pytest.fixture
def other():
    """Return another process of this machine, and the name under which it holds leases."""
    told = "from fleet.jobs import holders; print(holders.mine(), flush=True); input()"
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
    runner.forget_leases()
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
    place, _, process = holders.mine().rpartition("/")
    assert not holders.gone(f"{place}/{process}")
    assert holders.gone(f"{place}/{os.getpid()}:1")


def test_whoever_ran_elsewhere_or_before_the_machine_started_is_waited_for():
    assert not holders.gone("0123456789abcdef.4026531836/999999999:1")
    assert not holders.gone("elsewhere:1")
    assert not holders.gone("")
