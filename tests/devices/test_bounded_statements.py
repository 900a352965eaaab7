"""No statement carries the ids of a fleet: everything works with more devices than a statement takes parameters."""

import sqlite3
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections

from devices import metrics, selectors
from devices.models import Device, DriftState, Observation, ObservationDay, Sample, SampleDay, Twin
from devices.services import drift, observed, presence_words, retention, tick_packing
from fleet import health
from pki.kernel import clock
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db

MOST, DEVICES, ADDRESS = 2_200, 2_500, "192.0.2.1"


@pytest.fixture
def large(domain, hardware_model):
    """Return the domain of many devices, all heard a moment ago, on connections that take few parameters."""
    rows = [Device(domain=domain, name=f"d-{n}", hardware_model=hardware_model, state="active") for n in range(DEVICES)]
    Device.objects.bulk_create(rows, batch_size=50)
    Twin.objects.bulk_create([Twin(device=one) for one in Device.objects.filter(domain=domain)], batch_size=50)
    before = {}
    for name in ("default", "telemetry"):
        connection = connections[name]
        if connection.vendor == "sqlite":
            kind = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
            before[name] = connection.connection.setlimit(kind, MOST)
    yield domain
    for name, limit in before.items():
        connections[name].connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)


@regression("N1", "more devices than a statement takes parameters")
def test_presence_counts_drift_and_retention_take_any_number_of_devices(large, rf):
    keys = list(Device.objects.filter(domain=large).values_list("pk", flat=True))
    now = clock.now()
    tick = int(now.timestamp()) // settings.FLEET_DRIFT_TICK_S
    with clock.frozen(now):
        observed.add_samples(observed.write_contacts(dict.fromkeys(keys, (now, ADDRESS))))
        observed.add_samples([(key, tick, metrics.TRAFFIC[0], 3.0) for key in keys])
        Observation.objects.bulk_create([Observation(device_id=key, tick=tick, key="tcp:1:lan") for key in keys])
        assert presence_words.sweep_presence() == DEVICES
        assert presence_words.check_presence(domain=large) > 0  # the counts: these devices were made without services
        assert presence_words.check_presence(domain=large) == 0
    for word, many in (("online", DEVICES), ("late", 0)):
        wanted = selectors.DeviceFilter(presence=word)
        assert selectors.list_devices(actor=system(large), wanted=wanted).count() == many
    assert (
        f'condition="online",domain="{large.slug}"}} {DEVICES}.0'
        in health.metrics_page(rf.get("/metrics")).content.decode()
    )
    with clock.frozen(now + timedelta(seconds=2 * settings.FLEET_DRIFT_TICK_S)):
        drift.score_ticks(domain=large)
    assert DriftState.objects.get(domain_id=large.pk).updated_tick == tick
    with clock.frozen(now + timedelta(days=7)):
        tick_packing.pack_past_days(domain=large)
    assert (Sample.objects.count(), Observation.objects.count()) == (0, 0)
    assert (SampleDay.objects.count(), ObservationDay.objects.count()) == (2 * DEVICES, DEVICES)
    Device.objects.filter(domain=large).update(state="retired", presence="", salt=b"")
    assert retention.apply_retention(domain=large) >= DEVICES
    assert not selectors.last_seen(keys[:MOST])
