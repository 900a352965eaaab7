"""The budget of automatic quarantines: a share of a hardware model's devices in an hour, decided without counting all."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device, Incident
from devices.services import hardware
from fleet.guard import budgets
from pki.kernel import clock
from tests.factories.ground import system

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(domain, hardware_model):
    """Return a function that adds devices of a hardware model and returns all of them."""

    def add(many, model=hardware_model):
        start = Device.objects.count()
        rows = [Device(domain=domain, name=f"d{start + one}", hardware_model=model) for one in range(many)]
        Device.objects.bulk_create(rows, batch_size=100)
        return list(Device.objects.filter(hardware_model=model).order_by("id"))

    return add


def quarantine(devices, **about):
    """Open an incident for each device, which quarantines it unless ``about`` says otherwise."""
    for device in devices:
        given = {"reaction": {"quarantined": True}, "layer": "invariant", "severity": "high", "score": 0.0, **about}
        Incident.objects.create(domain=device.domain, device=device, **given)


@pytest.mark.parametrize(
    ("devices", "recent", "may"),
    [(1, 0, True), (50, 1, False), (199, 1, False), (200, 1, True), (299, 2, False), (300, 2, True)],
)
def test_one_percent_of_a_hardware_model_in_an_hour_but_always_one_device(fleet, devices, recent, may):
    rows = fleet(devices)
    quarantine(rows[:recent])
    assert budgets.may_quarantine(rows[-1]) is may is (recent < max(1, devices * budgets.PERCENT // 100))


def test_older_incidents_other_reactions_and_other_hardware_take_nothing_of_it(fleet, domain):
    rows = fleet(10)
    quarantine(rows[:2], opened_at=clock.now() - budgets.WINDOW - timedelta(seconds=1))
    quarantine(rows[2:4], reaction={"proposed": "quarantine and roll back"})
    other = hardware.register_model(actor=system(domain), name="other", vendor="acme.example")
    quarantine(fleet(2, other))
    assert budgets.may_quarantine(rows[-1])
    quarantine(rows[4:5])
    assert not budgets.may_quarantine(rows[-1])


def test_no_more_devices_are_counted_than_decide(fleet):
    rows = fleet(3)
    with CaptureQueriesContext(connection) as seen:
        assert budgets.may_quarantine(rows[0])
    assert len(seen) == 1
    quarantine(rows[:1])
    with CaptureQueriesContext(connection) as seen:
        assert not budgets.may_quarantine(rows[1])
    assert len(seen) == 2
    assert "LIMIT 200" in seen[1]["sql"]
