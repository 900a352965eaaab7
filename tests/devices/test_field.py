"""Configuration, logs, series, groups: what comes from devices and goes to them."""

from datetime import timedelta

import pytest

from devices import redaction, selectors, series
from devices.contract import configuration
from devices.models import DeviceLog, GroupMember, Presence, Sample, Series
from devices.services import groups, hardware, logs, presence, registry, retention, telemetry, twins
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, PreconditionError, UnconditionalError
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
NOW = 1_900_000_000_000


@pytest.fixture
def one(enrol):
    return enrol().device


@pytest.fixture
def by(domain):
    return system(domain)


@pytest.fixture
def itself(domain, one):
    return actors.device_actor(domain.slug, one.key)


def desire(by, one, patch, seen):
    return twins.desire_config(actor=by, device=one, patch=patch, if_match=f'"d{seen}"')


def test_a_change_names_the_version_that_it_saw(by, one):
    first = desire(by, one, {"poll_s": 60, "led": {"on": True}}, 0)
    second = desire(by, one, {"led": {"on": None, "dim": 3}}, first.config_version)
    assert second.desired["config"] == {"poll_s": 60, "led": {"dim": 3}}
    assert second.config_version > first.config_version
    with pytest.raises(PreconditionError):
        desire(by, one, {"poll_s": 1}, first.config_version)


@pytest.mark.parametrize("name", sorted(configuration.SIGNED_ONLY) + ["Time-Servers", "SERVER"])
def test_what_only_two_officers_may_change_is_refused(by, one, name):
    with pytest.raises(InvalidError, match="two officers"):
        desire(by, one, {name: "x"}, 0)


@pytest.mark.parametrize(
    "config",
    [
        {"x": "y" * 9000},
        {str(number): 1 for number in range(65)},
        {"a": {"b": {"c": {"d": {}}}}},
        {"a": float("nan")},
        [],
    ],
)
def test_a_configuration_is_small_and_shallow(config):
    with pytest.raises(InvalidError):
        configuration.check_configuration(config)


def test_an_older_copy_of_a_device_does_not_win(one, itself):
    first = twins.reported_config(actor=itself, device=one, config={"poll_s": 60}, seen=0)
    with pytest.raises(PreconditionError) as refused:
        twins.reported_config(actor=itself, device=one, config={"poll_s": 5}, seen=0)
    assert refused.value.context["tag"] == f'"r{first.reported_version}"'


def test_the_difference_between_wish_and_report_is_told(by, one, itself):
    desire(by, one, {"poll_s": 60, "led": True}, 0)
    twin = twins.reported_config(actor=itself, device=one, config={"led": True}, seen=0)
    assert twins.twin_delta(twin) == {"config.poll_s": {"want": 60, "have": None}}


@pytest.mark.parametrize(("field", "found"), [('"d40"', 40), ('"r1", "d7"', 7), ('W/"d3"', 3), ("*", -1), ('"d"', -1)])
def test_a_version_is_read_from_if_match(field, found):
    assert twins.seen_version("d", field) == found


def test_a_write_without_a_version_is_refused():
    with pytest.raises(UnconditionalError):
        twins.seen_version("d", "")


def keep(one, itself, text="all well", *, reason="command", wanted=True):
    return logs.keep(actor=itself, device=one, reason=reason, text=text, wanted=wanted)


def test_a_log_that_nobody_asked_for_is_not_taken(one, itself):
    with pytest.raises(DeniedError):
        keep(one, itself, wanted=False)
    assert DeviceLog.objects.count() == 0


def test_only_the_newest_few_logs_stay(one, itself):
    for number in range(logs.KEPT + 2):
        keep(one, itself, f"number {number}")
    assert (
        next(row.text for row in selectors.device_logs(actor=system(one.domain), device=one))
        == f"number {logs.KEPT + 1}"
    )
    assert selectors.device_logs(actor=system(one.domain), device=one).count() == logs.KEPT


def test_a_log_is_bounded(one, itself):
    with pytest.raises(InvalidError):
        keep(one, itself, "x" * (logs.MOST_BYTES + 1))
    with pytest.raises(InvalidError):
        keep(one, itself, reason="boredom")


@pytest.mark.parametrize(
    "secret",
    [
        "password=hunter22",
        'psk: "correct horse"'.replace(" horse", ""),
        "Authorization: Bearer abcdef123456",
        "https://user:hunter22@host/",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ncut off in the middle",
        "api_key = 0123456789abcdef",
    ],
)
def test_secrets_do_not_stay_in_a_log(one, itself, secret):
    row = keep(one, itself, f"before\n{secret}\nafter" if "END" in secret or "BEGIN" not in secret else secret)
    for word in ("hunter22", "correct", "abcdef123456", "MHcCAQEE", "cut off", "0123456789abcdef"):
        assert word not in row.text
    assert redaction.GONE in row.text


def batch(number, at, values=(1.0, 2.0, 3.0), step=1000):
    return telemetry.parse_batch(
        {"seq": number, "series": {"temp_c": {"at": at, "step": step, "values": list(values)}}}
    )


def test_a_series_is_read_back_as_it_came(one, itself):
    now = int(clock.now().timestamp() * 1000)
    telemetry.ingest_batch(actor=itself, device=one, batch=batch(1, now - 5000))
    telemetry.ingest_batch(actor=itself, device=one, batch=batch(2, now - 2000, [4]))
    found = selectors.read_series(one, "temp_c", now - 60_000, now, 100)
    assert found == [(now - 5000, 1.0), (now - 4000, 2.0), (now - 3000, 3.0), (now - 2000, 4.0)]
    assert selectors.read_series(one, "temp_c", now - 4000, now - 2000, 100) == found[1:3]
    assert selectors.read_series(one, "temp_c", now - 60_000, now, 2) == found[:2]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"temp_c": 1},
        {"temp_c": {"at": 1, "step": 1, "values": [1]}},
        {"temp_c": {"at": NOW, "step": 0, "values": [1]}},
        {"temp_c": {"at": NOW, "step": 1, "values": []}},
        {"temp_c": {"at": NOW, "step": 1, "values": ["x"]}},
        {"temp_c": {"at": NOW, "step": 1, "values": [True]}},
        {"temp_c": {"at": NOW, "step": 1, "values": [float("inf")]}},
        {"temp_c": {"at": NOW, "step": 1, "values": [1e308, 1e308]}},
        {"temp_c": {"at": NOW, "step": 1, "values": [1], "unit": "K"}},
        {"temp_c": {"at": NOW, "step": 1, "values": [10**400]}},
        {"temp_c": {"at": NOW, "step": 3_600_000, "values": [1] * 26}},
        {"a": {"at": NOW, "step": 1, "values": [1] * 3000}, "b": {"at": NOW, "step": 1, "values": [1] * 3000}},
    ],
)
def test_a_series_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidError):
        series.parse_series(wrong, NOW)


def test_a_series_that_must_not_leave_the_device_is_refused(by, one, itself):
    hardware.classify_metrics(actor=by, model=one.hardware_model, telemetry={"temp_c": "on_device_only"})
    one.hardware_model.refresh_from_db()
    with pytest.raises(DeniedError):
        telemetry.ingest_batch(actor=itself, device=one, batch=batch(1, int(clock.now().timestamp() * 1000)))
    assert Series.objects.count() == 0


def test_old_series_are_thinned_then_deleted_and_personal_ones_first(by, one, itself, domain, settings):
    hardware.classify_metrics(
        actor=by, model=one.hardware_model, telemetry={"temp_c": "operational", "heart": "personal"}
    )
    one.hardware_model.refresh_from_db()
    at = int(clock.now().timestamp() * 1000)
    body = {"at": at, "step": 10_000, "values": [float(number) for number in range(12)]}
    telemetry.ingest_batch(
        actor=itself, device=one, batch=telemetry.parse_batch({"seq": 1, "series": {"temp_c": body, "heart": body}})
    )

    def after(days):
        with clock.frozen(clock.now() + timedelta(days=days)):
            retention.apply_retention(domain=domain)
        return {row.metric: row.step_ms for row in Series.objects.all()}

    assert after(1) == {"temp_c": 10_000, "heart": 10_000}
    assert after(settings.FLEET_KEEP_FINE_DAYS + 1) == {"temp_c": 60_000, "heart": 60_000}
    assert [value for _, value in selectors.read_series(one, "temp_c", at, at + 10**6, 10)] == [2.5, 8.5]
    assert after(settings.FLEET_KEEP_PERSONAL_DAYS + 2) == {"temp_c": 60_000}
    keep(one, itself)
    assert after(settings.FLEET_KEEP_TELEMETRY_DAYS + 2) == {}
    assert DeviceLog.objects.count() == 0


def test_what_no_schema_names_any_more_is_kept_no_longer_than_personal_data(by, one, itself, domain, settings):
    model = one.hardware_model
    hardware.classify_metrics(
        actor=by, model=model, telemetry={"temp_c": "operational", "heart": "personal", "breath": "personal"}
    )
    one.hardware_model.refresh_from_db()
    body = {"at": int(clock.now().timestamp() * 1000), "step": 60_000, "values": [1.0]}
    given = {"seq": 1, "series": dict.fromkeys(("temp_c", "heart", "breath"), body), "metrics": {"heart": 60}}
    telemetry.ingest_batch(actor=itself, device=one, batch=telemetry.parse_batch(given))
    hardware.classify_metrics(actor=by, model=model, telemetry={"temp_c": "operational", "heart": "on_device_only"})
    with clock.frozen(clock.now() + timedelta(days=settings.FLEET_KEEP_PERSONAL_DAYS + 2)):
        retention.apply_retention(domain=domain)
    assert {row.metric for row in Series.objects.all()} == {"temp_c"}
    assert set(Sample.objects.values_list("metric", flat=True)) == {"temp_c"}


def test_a_schema_that_changes_is_compared_with_old_rows_on_the_same_day(by, one, itself, domain, settings):
    hardware.classify_metrics(
        actor=by, model=one.hardware_model, telemetry={"temp_c": "operational", "heart": "operational"}
    )
    one.hardware_model.refresh_from_db()
    body = {"at": int(clock.now().timestamp() * 1000), "step": 60_000, "values": [1.0]}
    given = {"seq": 1, "series": dict.fromkeys(("temp_c", "heart"), body), "metrics": {"heart": 60, "temp_c": 20}}
    telemetry.ingest_batch(actor=itself, device=one, batch=telemetry.parse_batch(given))
    with clock.frozen(clock.now() + timedelta(days=settings.FLEET_KEEP_PERSONAL_DAYS + 2)):
        assert retention.apply_retention(domain=domain) == 0
        hardware.classify_metrics(
            actor=by, model=one.hardware_model, telemetry={"temp_c": "operational", "heart": "personal"}
        )
        assert retention.apply_retention(domain=domain) == 2
    assert set(Series.objects.values_list("metric", flat=True)) == {"temp_c"}
    assert set(Sample.objects.values_list("metric", flat=True)) == {"temp_c"}


def test_personal_rows_of_one_hardware_model_go_while_another_keeps_the_same_metric(by, one, enrol, domain, settings):
    hardware.classify_metrics(actor=by, model=one.hardware_model, telemetry={"heart": "personal"})
    kept = hardware.register_model(actor=by, name="pulse", vendor="acme.example")
    hardware.classify_metrics(actor=by, model=kept, telemetry={"heart": "operational"})
    other = enrol("dev-2", kept).device
    old = int(clock.now().timestamp()) // 86400 - settings.FLEET_KEEP_PERSONAL_DAYS - 1
    for device in (one, other):
        fields = {"day": old, "start": old * series.DAY_MS, "step_ms": 60_000, "values": b""}
        Series.objects.create(device_id=device.pk, metric="heart", **fields)
    assert retention.apply_retention(domain=domain) == 1
    assert Series.objects.get().device_id == other.pk


def test_a_backlog_is_thinned_in_one_go(one, domain, settings, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    old = int(clock.now().timestamp()) // 86400 - settings.FLEET_KEEP_FINE_DAYS - 1
    packed = series.parse_series({"temp_c": {"at": NOW, "step": 1000, "values": [1.0] * 60}}, NOW)["temp_c"].packed
    for number in range(10):
        fields = {"day": old, "start": old * series.DAY_MS + number, "step_ms": 1000, "values": packed}
        Series.objects.create(device_id=one.pk, metric="temp_c", **fields)
    retention.apply_retention(domain=domain)
    assert set(Series.objects.values_list("step_ms", flat=True)) == {60_000}


def test_what_a_listener_writes_of_an_erased_device_is_taken_too(by, one, domain):
    registry.decommission(actor=by, device=one, confirmed=one.name)
    presence.note_request(one.pk, "192.0.2.9", 1, 1)
    presence.flush_presence()
    assert Presence.objects.filter(device_id=one.pk).exists()
    retention.apply_retention(domain=domain)
    assert not Presence.objects.filter(device_id=one.pk).exists()
    assert not Sample.objects.filter(device_id=one.pk).exists()


def test_erasing_a_device_takes_its_series_and_logs(by, one, itself):
    telemetry.ingest_batch(actor=itself, device=one, batch=batch(1, int(clock.now().timestamp() * 1000)))
    keep(one, itself)
    groups.change_members(actor=by, group=groups.create(actor=by, name="pilots"), add=[one])
    registry.decommission(actor=by, device=one, confirmed=one.name)
    assert (Series.objects.count(), DeviceLog.objects.count(), GroupMember.objects.count()) == (0, 0, 0)


def test_groups_are_listed_or_asked_for(by, one, enrol, domain):
    other = enrol("dev-2").device
    listed = groups.create(actor=by, name="pilots")
    groups.change_members(actor=by, group=listed, add=[one])
    groups.change_members(actor=by, group=listed, add=[one, other], remove=[])
    groups.change_members(actor=by, group=listed, remove=[other])
    asked = groups.create(actor=by, name="second", query_text='name = "dev-2"')
    names = {
        name: [row.name for row in selectors.list_devices(actor=by, wanted=selectors.DeviceFilter(group=name))]
        for name in ("pilots", "second")
    }
    assert names == {"pilots": [one.name], "second": ["dev-2"]}
    assert [
        row.name for row in selectors.list_devices(actor=by, wanted=selectors.DeviceFilter(query="group = pilots"))
    ] == [one.name]
    with pytest.raises(ConflictError):
        groups.change_members(actor=by, group=asked, add=[one])
    with pytest.raises(ConflictError):
        groups.create(actor=by, name="pilots")
    groups.delete(actor=by, group=listed)
    assert selectors.list_groups(actor=system(domain)).count() == 1
