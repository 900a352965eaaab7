"""Leases: a job runs in one process at a time, and a restore does not let it wait for a process that is gone."""

from datetime import timedelta

import pytest

from fleet.jobs import runner
from fleet.jobs.models import Lease
from fleet.jobs.table import Job
from pki.kernel import clock

pytestmark = pytest.mark.django_db


def held(name):
    """Let another process hold the lease of a job."""
    Lease.objects.create(job=name, holder="elsewhere:1", until=clock.now() + timedelta(seconds=50))


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
