"""What the listeners notice of devices: counted by tick, kept for devices only, never sent by them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from devices import metrics, networks
from devices.models import Presence, Sample, SourceNetwork
from devices.services import observed, presence, retention
from pki.kernel.errors import InvalidError

pytestmark = pytest.mark.django_db


def samples(device):
    return dict(Sample.objects.filter(device_id=device.pk).values_list("metric", "value"))


def test_handshakes_and_refusals_of_a_certificate_become_its_devices(enrol):
    one, other = enrol("dev-1"), enrol("dev-2")
    mine = one.certificate.fingerprint
    presence.note_peer(mine, "tls_handshakes")
    presence.note_peer(mine, "tls_resumptions")
    for status in (200, 204, 401, 403, 404, 500):
        presence.note_answer(mine, status)
    presence.flush_presence()
    presence.note_answer(mine, 403)
    presence.note_answer(other.certificate.fingerprint, 413)
    presence.flush_presence()
    both = {"tls_handshakes": 1, "tls_resumptions": 1, "auth_failures": 3, "http_4xx": 4, "http_5xx": 1}
    assert samples(one.device) == both
    assert samples(other.device) == {"http_4xx": 1}


def test_of_strangers_nothing_is_kept():
    presence.note_answer("ab" * 32, 403)
    presence.note_answer("", 401)
    presence.flush_presence()
    assert not Sample.objects.exists()


def test_what_is_gathered_is_bounded(monkeypatch):
    monkeypatch.setattr(presence, "MOST_NOTICED", 10)
    for number in range(100):
        presence.note_peer(f"{number:064x}", "tls_handshakes")
    assert len(presence._gathered.noticed) == 10


@pytest.mark.parametrize("name", metrics.OBSERVED)
def test_no_device_can_be_allowed_to_report_what_the_listeners_count(name):
    with pytest.raises(InvalidError, match="counted by the device gateway"):
        metrics.parse_schema({name: "operational"})


AT = datetime(2026, 11, 27, 12, 0, 5, tzinfo=UTC)


def heard(device, seconds, address):
    """Let one contact be written, so long after noon, as a listener writes it."""
    observed.add_samples(observed.write_contacts({device.pk: (AT + timedelta(seconds=seconds), address)}))


def by_tick(device, metric):
    rows = Sample.objects.filter(device_id=device.pk, metric=metric).order_by("tick")
    return list(rows.values_list("value", flat=True))


def test_the_longest_silence_of_a_tick_is_its_gap(enrol):
    device = enrol("dev-1").device
    for seconds in (0, 300, 1200, 1260):
        heard(device, seconds, "192.0.2.1")
    assert by_tick(device, metrics.GAP) == [900]
    heard(device, 3600 * 5, "192.0.2.1")
    assert by_tick(device, metrics.GAP) == [900, 3600 * 5 - 1260]


def test_each_network_counts_once_a_tick_however_often_it_changes(enrol):
    device = enrol("dev-1").device
    for seconds, address in enumerate(["192.0.2.1", "192.0.2.77", "198.51.100.4", "192.0.2.1", "198.51.100.9", "odd"]):
        heard(device, seconds, address)
    assert by_tick(device, metrics.SOURCES) == [2]
    heard(device, 3600, "192.0.2.1")
    heard(device, 3601, "2001:db8:7:1::5")
    assert by_tick(device, metrics.SOURCES) == [2, 2]
    kept = SourceNetwork.objects.filter(device_id=device.pk).order_by("id")
    assert [row.prefix for row in kept] == ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:7::/48"]


def test_contacts_and_networks_are_written_without_the_main_database(enrol):
    device = enrol("dev-1").device
    with CaptureQueriesContext(connections["default"]) as main, CaptureQueriesContext(connections["telemetry"]) as own:
        heard(device, 0, "192.0.2.1")
    assert (len(main), len(own) > 0) == (0, True)
    assert SourceNetwork.objects.using("telemetry").filter(device_id=device.pk).exists()


def test_of_one_device_a_bounded_number_of_networks_is_remembered(enrol):
    device, other = enrol("dev-1").device, enrol("dev-2").device
    heard(other, 0, "10.0.0.1")
    for number in range(observed.MOST_NETWORKS + 9):
        heard(device, 3600 * number, f"10.0.{number}.1")
    kept = SourceNetwork.objects.filter(device_id=device.pk).order_by("last_tick")
    assert len(kept) == observed.MOST_NETWORKS
    assert kept[0].prefix == "10.0.9.0/24"
    assert SourceNetwork.objects.filter(device_id=other.pk).count() == 1


def test_what_was_measured_is_written_with_the_rest_and_erased_with_the_device(enrol):
    device = enrol("dev-1").device
    presence.note_request(device.pk, "192.0.2.1", 10, 20)
    presence.note_measured(device.pk, metrics.CLOCK_SKEW, 3.0)
    presence.note_measured(device.pk, metrics.CLOCK_SKEW, -7.0)
    presence.note_measured(device.pk, metrics.INSTALL_TIME, 60.0)
    presence.note_measured(device.pk, metrics.INSTALL_TIME, 20.0)
    presence.flush_presence()
    found = samples(device)
    assert (found[metrics.CLOCK_SKEW], found[metrics.INSTALL_TIME], found["requests"]) == (-7.0, 60.0, 1.0)
    assert found[metrics.SOURCES] == 1
    assert retention.forget_telemetry([device.pk]) >= 6
    assert not SourceNetwork.objects.exists()
    assert not Presence.objects.exists()


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.1.2.3", "10.1.2.0/24"), ("::ffff:10.1.2.3", "10.1.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"),
     ("fe80::1%eth0", "fe80::/48"), ("", ""), ("unix:", ""), ("10.1.2", ""), ("10.1.2.3:99", "")],
)  # fmt: skip
def test_the_network_of_an_address(address, network):
    assert networks.network_prefix(address) == network
