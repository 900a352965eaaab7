"""Devices by a part of their name: the index gives what a look at every name gives, and spares that look."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import name_search
from devices.models import Device
from devices.selectors import DeviceFilter, list_devices
from devices.services import groups
from tests.factories.ground import system

pytestmark = pytest.mark.django_db

NAMES = (
    "cam-1",
    "CAM-12",
    "hall 3/cam_1",
    'quoted "cam"',
    "50% off",
    "back\\slash",
    "Überlauf",
    "überlauf-2",
    "a",
    "NOT cam",
)
PARTS = (
    "überl",
    "Überl",
    "cam",
    "CAM-1",
    "cam_1",
    '"cam"',
    "50%",
    "k\\s",
    "lauf",
    "a",
    "ca",
    "NOT",
    "cam OR hall",
    "*",
    "zzz",
    "-1",
    " 3/",
    "'",
)


@pytest.fixture
def named(enrol):
    """Return a function that adds devices of such names."""
    first = enrol("first").device

    def add(*given):
        rows = [Device.objects.get(pk=first.pk) for _ in given]
        for row, name in zip(rows, given, strict=True):
            row.pk, row.public_id, row.name = None, uuid.uuid4(), name
        Device.objects.bulk_create(rows)

    return add


def found(domain, part):
    return list(list_devices(actor=system(domain), wanted=DeviceFilter(q=part)).values_list("name", flat=True))


def looked_at(part):
    return sorted(Device.objects.filter(name__icontains=part).values_list("name", flat=True))


#: what is taken for few and for many names: as it is, all for more than a few, all for very many
BOUNDS = ((name_search.MOST, name_search.MANY), (0, name_search.MANY), (0, 0))


@pytest.fixture(params=BOUNDS)
def bounds(request, monkeypatch):
    """Let few names be few, many, and very many."""
    monkeypatch.setattr(name_search, "MOST", request.param[0])
    monkeypatch.setattr(name_search, "MANY", request.param[1])


@pytest.mark.usefixtures("bounds")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_found_as_a_look_at_every_name_finds_it(domain, named, part):
    named(*NAMES)
    assert sorted(found(domain, part)) == looked_at(part)


@pytest.mark.usefixtures("bounds")
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's planner chooses by its statistics")
@pytest.mark.parametrize("order", [("name", "id"), ("-id",)])
def test_a_page_in_either_order_reads_no_more_than_it_shows(domain, named, order):
    named(*(f"sensor-{number:03}" for number in range(150)))
    rows = list_devices(actor=system(domain), wanted=DeviceFilter(q="sensor")).order_by(*order)[:51]
    assert len(rows) == 51
    assert "TEMP B-TREE" not in rows.explain(), rows.explain()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's planner chooses by its statistics")
def test_the_newest_of_many_are_taken_from_the_index(domain, named, monkeypatch):
    named(*(f"sensor-{number:03}" for number in range(150)))
    rows = list_devices(actor=system(domain), wanted=DeviceFilter(q="sensor")).order_by("-id")[:51]
    assert "(domain_id=? AND rowid=?)" in rows.explain()
    monkeypatch.setattr(name_search, "MOST", 0)
    rows = list_devices(actor=system(domain), wanted=DeviceFilter(q="sensor")).order_by("-id")[:51]
    assert "(domain_id=? AND rowid=?)" in rows.explain()
    monkeypatch.setattr(name_search, "MANY", 0)
    rows = list_devices(actor=system(domain), wanted=DeviceFilter(q="sensor")).order_by("-id")[:51]
    assert "(domain_id=? AND rowid>? AND rowid<?)" in rows.explain()


def test_a_name_that_changed_or_went_is_found_as_it_is_now(domain, named):
    named("old-name", "gone-name")
    Device.objects.filter(name="old-name").update(name="new-word")
    Device.objects.filter(name="gone-name").delete()
    assert found(domain, "old-name") == found(domain, "gone-name") == []
    assert found(domain, "new-word") == ["new-word"]


def test_a_part_of_very_many_names_finds_them_all(domain, named):
    named(*(f"sensor-{number:04}" for number in range(name_search.MOST + 20)), "rare-one")
    assert len(found(domain, "sensor")) == name_search.MOST + 20
    assert found(domain, "rare") == ["rare-one"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's planner chooses by its statistics")
def test_a_rare_part_is_answered_from_the_index(domain, named):
    named("rare-one", *(f"sensor-{number:03}" for number in range(300)))
    with CaptureQueriesContext(connection) as asked:
        assert found(domain, "rare") == ["rare-one"]
    plan = list_devices(actor=system(domain), wanted=DeviceFilter(q="rare")).explain()
    assert "(domain_id=? AND name=? AND rowid=?)" in plan or "USING INTEGER PRIMARY KEY (rowid=?)" in plan, plan
    assert "(domain_id=?)" not in plan, plan
    assert len(asked) == 3


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's planner chooses by its statistics")
def test_the_page_of_a_small_group_looks_at_no_others(domain, named):
    named(*(f"rare-{number:02}" for number in range(60)), *(f"sensor-{number:03}" for number in range(300)))
    by = system(domain)
    few = Device.objects.filter(name__startswith="rare")
    groups.change_members(actor=by, group=groups.create(actor=by, name="few"), add=list(few))
    rows = list_devices(actor=by, wanted=DeviceFilter(group="few"))
    assert [one.name for one in rows] == [f"rare-{number:02}" for number in range(60)]
    assert "(domain_id=? AND name=?" in rows.explain(), rows.explain()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="an index of PostgreSQL")
def test_a_rare_part_is_answered_from_the_index_of_postgresql(domain, named):
    named("rare-one", *(f"sensor-{number:04}" for number in range(3000)))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE devices_device")
    plan = list_devices(actor=system(domain), wanted=DeviceFilter(q="rare")).explain()
    assert "devices_device_names" in plan, plan
    assert found(domain, "rare") == ["rare-one"]
