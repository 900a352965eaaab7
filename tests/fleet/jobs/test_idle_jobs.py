"""A worker with nothing to do only looks: no job writes, opens a transaction or loads what it does not need."""

from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from devices.models import DriftState, Incident
from devices.services import drift
from fleet.guard import reactions
from fleet.jobs.table import list_jobs
from ota.selectors import repairs
from pki.kernel import clock
from tests.factories.ground import system

pytestmark = pytest.mark.django_db

#: queries of one run of any job that finds nothing to do
MOST_QUERIES = 16
WRITES = ("INSERT", "UPDATE", "DELETE", "SAVEPOINT", "BEGIN", "COPY")


def statements(run):
    """Return what both databases were asked while something ran."""
    with CaptureQueriesContext(connections["default"]) as main, CaptureQueriesContext(connections["telemetry"]) as own:
        run()
    return [query["sql"] for query in (*main, *own)]


@pytest.mark.parametrize("job", list_jobs(), ids=lambda job: job.name)
def test_a_job_that_finds_nothing_to_do_writes_nothing(published, enrol, job):
    enrol("dev-1")
    for _ in range(12):  # what is due is done: lists of certificates come out 64 at a time
        job.run(published.domain)
    asked = statements(lambda: job.run(published.domain))
    assert [one for one in asked if one.startswith(WRITES)] == []
    assert len(asked) <= MOST_QUERIES


def test_ticks_without_samples_change_nothing(enrol, settings):
    domain = enrol("dev-1").device.domain
    for tick in range(5):
        later = clock.now() + timedelta(seconds=tick * settings.FLEET_DRIFT_TICK_S)
        with clock.frozen(later):
            asked = statements(lambda: drift.score_ticks(domain=domain))
        assert len(asked) == 2
    assert not DriftState.objects.exists()


def test_open_incidents_that_wait_for_people_are_not_loaded(enrol):
    device = enrol("dev-1").device
    Incident.objects.create(
        domain=device.domain, device=device, layer="numeric", severity="low", score=1.0, reaction={"repair": 5}
    )
    with CaptureQueriesContext(connections["default"]) as asked:
        assert reactions.release_repaired(domain=device.domain) == []
    assert len(asked) == 1
    assert not repairs.repaired_incidents(actor=system(device.domain)).exists()
