"""What benchmarks put into a set-up looks like the real thing: their statements follow the tables."""

import pytest
from django.db import connection

from devices.models import Device, Twin
from fleet.management.benches import listeners_inner
from ota.services import idle


@pytest.mark.django_db
def test_a_synthetic_fleet_is_made_of_devices_that_are_idle(enrol):
    if connection.vendor != "sqlite":
        pytest.skip("benchmarks make their fleets in SQLite")
    one = enrol("bench-000000").device
    assert listeners_inner.register_fleet("7") == 7
    made = Device.objects.filter(name__startswith="synthetic-")
    assert {(row.state, row.audience, row.hardware_model_id) for row in made} == {
        ("active", "production", one.hardware_model_id)
    }
    assert Twin.objects.filter(device__in=made, fork_token="").count() == 7
    assert sum(bool(row[4]) for row in idle.idle_rows()) == 8
