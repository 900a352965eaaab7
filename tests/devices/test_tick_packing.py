"""Samples of days that are over are stored packed: the same values are read back, kept as long, and erased as surely."""

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connections
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from devices import selectors
from devices.models import DriftState, Observation, ObservationDay, Sample, SampleDay
from devices.services import drift, hardware, observed, registry, retention, telemetry, tick_packing
from devices.tick_values import pack_ticks, unpack_ticks
from pki.kernel import actor as actors
from pki.kernel import clock
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])

NOON = datetime(2030, 5, 10, 12, tzinfo=UTC)
HOURS = 24 * 4


@pytest.fixture
def one(enrol):
    return enrol().device


def tick_at(moment):
    return int(moment.timestamp()) // settings.FLEET_DRIFT_TICK_S


def observe(device, hours=HOURS):
    """Write what was seen of a device up to now: a count each hour, a long gap each fifth, and odd fractions."""
    newest = tick_at(NOON)
    rows = [(device.pk, newest - back, "requests", float(back % 300)) for back in range(hours)]
    rows += [(device.pk, newest - back, "gap_max_s", back / 7) for back in range(0, hours, 5)]
    observed.add_samples(rows)


def send(device, number, moment, peers=(), **values):
    itself = actors.device_actor(device.domain.slug, device.key)
    body = {"seq": number, "metrics": values, "peers": [["tcp", port, "lan"] for port in peers]}
    with clock.frozen(moment):
        telemetry.ingest_batch(actor=itself, device=device, batch=telemetry.parse_batch(body))


def read(device, moment=NOON):
    with clock.frozen(moment):
        return selectors.read_behaviour(device, 24 * 14)


def pack(device, moment=NOON):
    with clock.frozen(moment):
        return tick_packing.pack_past_days(domain=device.domain)


@given(
    st.dictionaries(
        st.integers(0, 2**40),
        st.integers(0, 2**33).map(float) | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
    ).filter(lambda values: max(values) - min(values) < 2**32)
)
def test_values_come_back_exactly_and_in_order(values):
    assert list(unpack_ticks(*pack_ticks(values)).items()) == sorted(values.items())


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({7: 1.0, 8: 255.0}, 2 + 2),
        ({7: 1.0, 8: 256.0}, 2 + 4),
        ({7: 70000.0, 8: 0.0}, 2 + 8),
        ({7: 0.5, 8: 1.0}, 2 + 16),
        ({7: -1.0, 8: 1e12}, 2 + 16),
        ({7: 1.0, 9: 1.0, 300: 1.0}, 2 + 3 + 6),
    ],
)
def test_whole_numbers_and_offsets_are_stored_narrow(values, size):
    first, packed = pack_ticks(values)
    assert (first, len(packed)) == (7, size)


def test_packed_days_are_read_like_rows(one):
    observe(one)
    before = read(one)
    assert [len(before[name]) for name in ("requests", "gap_max_s")] == [HOURS, 20]
    assert pack(one) > 0
    assert read(one) == before
    today = int(NOON.timestamp()) // 86_400
    assert set(SampleDay.objects.values_list("day", flat=True)) == {today - 4, today - 3, today - 2, today - 1}
    assert not Sample.objects.filter(tick__lt=tick_at(NOON.replace(hour=0))).exists()
    assert pack(one) == 0


def test_only_the_ticks_that_are_asked_for_are_read(one):
    observe(one)
    pack(one)
    with clock.frozen(NOON):
        found = selectors.read_behaviour(one, 20)
    assert [tick for tick, _ in found["requests"]] == list(range(tick_at(NOON) - 19, tick_at(NOON) + 1))


def test_a_run_that_ends_anywhere_is_taken_up_again(one, monkeypatch):
    monkeypatch.setattr(tick_packing, "AT_ONCE", 7)
    observe(one)
    before, midnight = read(one), tick_at(NOON.replace(hour=0))
    for _ in range(3):  # as many commits as were made before the end
        assert tick_packing._pack_some(tick_packing._SAMPLES, [one.pk], midnight) == 7
        assert read(one) == before
    pack(one)
    assert read(one) == before
    assert not Sample.objects.filter(tick__lt=midnight).exists()


def test_a_day_that_drift_detection_has_not_read_stays_as_it_is(one):
    observe(one)
    scored = tick_at(NOON - timedelta(days=2))
    DriftState.objects.create(domain_id=one.domain.pk, version=drift.VERSION, updated_tick=scored, blob=b"")
    pack(one)
    rows = Sample.objects.filter(device_id=one.pk, metric="requests")
    assert min(rows.values_list("tick", flat=True)) == tick_at((NOON - timedelta(days=2)).replace(hour=0))


@pytest.mark.parametrize(
    ("metric", "first", "late", "both"),
    [("requests", 3.0, 4.0, 7.0), ("gap_max_s", 9.0, 2.0, 9.0), ("clock_skew_s", 5.0, -1.0, -1.0)],
)
def test_what_comes_late_is_added_in_its_metrics_way(one, metric, first, late, both):
    tick = tick_at(NOON - timedelta(days=2))
    for value in (first, late):
        observed.add_samples([(one.pk, tick, metric, value)])
        assert pack(one) == 1
    assert read(one) == {metric: [(tick, both)]}


def test_a_late_value_of_the_device_takes_the_place_of_the_packed_one(one):
    yesterday = NOON - timedelta(days=1)
    send(one, 1, yesterday, temp_c=20.5)
    pack(one)
    send(one, 2, yesterday, temp_c=21.5)
    pack(one)
    assert read(one) == {"temp_c": [(tick_at(yesterday), 21.5)]}


def test_destinations_are_packed_with_the_ticks_in_which_they_were_shown(one):
    yesterday = NOON - timedelta(days=1)
    for hours, ports in ((0, (443, 53)), (2, (443,)), (3, (443,))):
        send(one, hours + 1, yesterday + timedelta(hours=hours), peers=ports)
    assert pack(one) == 4
    assert not Observation.objects.exists()
    start = tick_at(yesterday)
    found = {row.key: list(unpack_ticks(row.start, bytes(row.values))) for row in ObservationDay.objects.all()}
    assert found == {"tcp:443:lan": [start, start + 2, start + 3], "tcp:53:lan": [start]}


def test_packed_days_go_when_their_class_says_so(one, domain):
    by = system(domain)
    hardware.classify_metrics(
        actor=by, model=one.hardware_model, telemetry={"temp_c": "operational", "heart": "personal"}
    )
    one.hardware_model.refresh_from_db()
    send(one, 1, NOON - timedelta(days=1), peers=(443,), temp_c=20, heart=60)
    observe(one, hours=1)
    pack(one, NOON + timedelta(days=1))

    def after(days):
        with clock.frozen(NOON + timedelta(days=days)):
            retention.apply_retention(domain=domain)
        return set(SampleDay.objects.values_list("metric", flat=True))

    observed_ones = {"requests", "gap_max_s"}
    assert after(settings.FLEET_KEEP_PERSONAL_DAYS - 1) == {"temp_c", "heart"} | observed_ones
    assert after(settings.FLEET_KEEP_PERSONAL_DAYS) == {"temp_c"} | observed_ones
    assert ObservationDay.objects.count() == 1
    assert after(settings.FLEET_KEEP_TELEMETRY_DAYS) == observed_ones
    assert ObservationDay.objects.count() == 0
    assert after(settings.FLEET_KEEP_TELEMETRY_DAYS + 1) == set()


def test_erasing_a_device_takes_its_packed_days(one, enrol, domain):
    other = enrol("dev-2").device
    for device in (one, other):
        observe(device)
        send(device, 1, NOON - timedelta(days=1), peers=(443,))
    pack(one)
    registry.decommission(actor=system(domain), device=one, confirmed=one.name)
    assert set(SampleDay.objects.values_list("device_id", flat=True)) == {other.pk}
    assert set(ObservationDay.objects.values_list("device_id", flat=True)) == {other.pk}


def test_the_job_looks_first(one):
    observe(one)
    pack(one)
    with CaptureQueriesContext(connections["default"]) as main, CaptureQueriesContext(connections["telemetry"]) as own:
        assert pack(one) == 0
    assert not main.captured_queries
    assert len(own.captured_queries) == 3


def test_packed_days_need_a_fraction_of_the_bytes_of_their_rows(one):
    observe(one)
    pack(one)
    values = sum(len(unpack_ticks(row.start, bytes(row.values))) for row in SampleDay.objects.all())
    stored = sum(len(bytes(row.values)) for row in SampleDay.objects.all())
    assert stored / values < 5
