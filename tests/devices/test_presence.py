"""What the doors notice of devices: counted by tick, kept for devices only, never sent by them."""

import pytest

from devices import metrics
from devices.models import Sample
from devices.services import presence
from pki.kernel.errors import InvalidError

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_gathered():
    presence.flush()
    Sample.objects.all().delete()


def samples(device):
    return dict(Sample.objects.filter(device_id=device.pk).values_list("metric", "value"))


def test_handshakes_and_refusals_of_a_certificate_become_its_devices(enrol):
    one, other = enrol("dev-1"), enrol("dev-2")
    mine = one.certificate.fingerprint
    presence.notice(mine, "tls_handshakes")
    presence.notice(mine, "tls_resumptions")
    for status in (200, 204, 401, 403, 404, 500):
        presence.answered(mine, status)
    presence.flush()
    presence.answered(mine, 403)
    presence.answered(other.certificate.fingerprint, 413)
    presence.flush()
    both = {"tls_handshakes": 1, "tls_resumptions": 1, "auth_failures": 3, "http_4xx": 4, "http_5xx": 1}
    assert samples(one.device) == both
    assert samples(other.device) == {"http_4xx": 1}


def test_of_strangers_nothing_is_kept():
    presence.answered("ab" * 32, 403)
    presence.answered("", 401)
    presence.flush()
    assert not Sample.objects.exists()


def test_what_is_gathered_is_bounded(monkeypatch):
    monkeypatch.setattr(presence, "MOST_NOTICED", 10)
    for number in range(100):
        presence.notice(f"{number:064x}", "tls_handshakes")
    assert len(presence._gathered.noticed) == 10


@pytest.mark.parametrize("name", metrics.OBSERVED)
def test_no_device_can_be_allowed_to_report_what_the_doors_count(name):
    with pytest.raises(InvalidError, match="count themselves"):
        metrics.schema({name: "operational"})
