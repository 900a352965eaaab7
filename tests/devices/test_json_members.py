"""Members of JSON objects are found by their names, whatever these look like."""

import pytest
from django.db.models import Q

from devices import query
from devices.models import Device, Twin
from pki.models.json_members import member_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(enrol):
    return enrol("dev-1").device


NAMES = ["app", "0", "17", "a__b", "a.b", "exact", "isnull", "-1", "#-1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_member_is_found_by_its_name(device, name):
    said = {"components": {name: {"version": "1.0", "counter": 7, "on": [1, {"x": "1.0"}]}, "other": {"version": "9"}}}
    Twin.objects.filter(device=device).update(reported=said)
    path = ("reported", "components", name)
    rows = Twin.objects.annotate(
        version=member_of(*path, "version", text=True), counter=member_of(*path, "counter"), on=member_of(*path, "on")
    )
    assert rows.values_list("version", "counter", "on").get() == ("1.0", 7, [1, {"x": "1.0"}])


@pytest.mark.parametrize("name", ["app", "0", "a.b"])
def test_devices_are_found_by_what_they_run_as_a_component(device, name):
    Twin.objects.filter(device=device).update(reported={"components": {name: {"version": "1.0"}}})

    def found(text):
        return list(Device.objects.filter(query.parse_query(text, Q())))

    assert found(f"runs.{name} = 1.0") == [device]
    assert found(f"runs.{name} = 2.0") == []
    assert found(f"runs.{name} != 2.0") == [device]


def test_what_is_not_there_is_nothing(device):
    Twin.objects.filter(device=device).update(reported={"components": ["app"]})
    rows = Twin.objects.annotate(version=member_of("reported", "components", "0", "version", text=True))
    assert rows.values_list("version", flat=True).get() is None
