"""The page of a device shows a bounded part of its history, with a link to the rest."""

from datetime import timedelta

import pytest

from fleet.console.devices import CERTIFICATES
from pki.kernel import clock
from pki.models import Authority, Certificate

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
LINK = "All certificates of this device"


def renew(device, numbers):
    authority, now = Authority.objects.filter(domain=device.domain, kind="issuing").first(), clock.now()
    for number in numbers:
        Certificate.objects.create(
            domain=device.domain, authority=authority, serial=f"{number:020x}", fingerprint=f"{number:064x}",
            subject_urn=device.key, subject_key=device.key, spki_sha256=f"{number:064x}", profile="device",
            der=b"x", not_before=now, not_after=now + timedelta(days=10),
        )  # fmt: skip


def test_a_device_with_many_certificates_shows_the_newest_and_a_link_to_all(client, fleet):
    device = fleet.devices[0]
    path = f"/devices/{device.public_id}"
    assert LINK not in client.get(path, secure=True).content.decode()
    renew(device, range(1, CERTIFICATES + 11))
    page = client.get(path, secure=True).content.decode()
    shown = [number for number in range(1, CERTIFICATES + 11) if f"{number:064x}" in page]
    assert shown == list(range(11, CERTIFICATES + 11))
    assert f'href="/certificates?device={device.public_id}">{LINK}' in page
    listed = client.get(f"/certificates?device={device.public_id}", secure=True).content.decode()
    assert f"{1:064x}" in listed
    assert f"{CERTIFICATES + 10:064x}" in listed
