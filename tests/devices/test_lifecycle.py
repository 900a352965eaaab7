"""Devices leave, come back, change hands and are forgotten."""

import pytest

from devices.errors import LifecycleError
from devices.models import Device, Presence
from devices.proofs.claim import Shown
from devices.services import enrolment, presence, quarantine, registry, tokens, transfer
from pki.kernel.errors import ConflictError, DeniedError, NotFoundError
from pki.models import Certificate, LedgerEntry
from pki.x509 import parse_csr
from tests.factories.devices import csr
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


def valid(device):
    return Certificate.objects.filter(subject_key=device.key, revoked_at__isnull=True).count()


def actions(domain, key):
    return list(
        LedgerEntry.objects.filter(domain=domain, object_key=key).order_by("id").values_list("action", flat=True)
    )


def test_a_returned_device_comes_back_by_a_new_token_as_the_same_device(domain, enrol):
    device = enrol("dev-1").device
    registry.send_back(actor=person(domain, "security-officer"), device=device)
    assert valid(device) == 0
    assert enrol("dev-1").device.pk == device.pk
    assert valid(device) == 1


def test_a_retired_device_does_not_come_back(domain, enrol, hardware_model):
    device = enrol("dev-1").device
    registry.retire_device(actor=person(domain, "security-officer"), device=device)
    with pytest.raises(LifecycleError):
        registry.send_back(actor=person(domain, "security-officer"), device=device)
    device.refresh_from_db()
    with pytest.raises(ConflictError):
        tokens.replace_board(actor=system(domain), device=device)


def test_what_is_decommissioned_leaves_no_name_behind_and_the_ledger_verifies_still(domain, enrol):
    device = enrol("nurse-station-anna").device
    before = enrolment.personal_commitment(device, device.name)
    Device.objects.filter(pk=device.pk).update(owner="Anna", site="Ward 3", tags=["anna"])
    presence.note_request(device.pk, "192.0.2.7", 1, 1)
    presence.flush_presence()
    device.refresh_from_db()
    registry.decommission(actor=person(domain, "security-officer"), device=device, confirmed=device.name)
    device.refresh_from_db()
    assert (device.state, device.owner, device.site, device.tags, bytes(device.salt)) == ("retired", "", "", [], b"")
    assert valid(device) == 0
    assert not Presence.objects.filter(device_id=device.pk).exists()
    details = str(list(LedgerEntry.objects.filter(domain=domain).values_list("detail", flat=True)))
    assert "anna" not in details.lower()
    assert before in details
    assert enrolment.personal_commitment(device, "nurse-station-anna") != before, (
        "without the salt a guess proves nothing"
    )
    assert "device.erased" in actions(domain, device.key)


def test_a_device_changes_hands_between_two_domains(domain, other_domain, enrol):
    device = enrol("dev-1").device
    code = transfer.offer_transfer(actor=person(domain, "security-officer"), device=device)
    with pytest.raises(ConflictError):
        transfer.accept_transfer(actor=person(domain, "security-officer"), code=code)
    _, secret = transfer.accept_transfer(actor=person(other_domain, "security-officer"), code=code)
    device.refresh_from_db()
    assert (device.state, valid(device)) == ("retired", 0)
    request = parse_csr(csr("dev-1")[0])
    done = enrolment.enrol(domain=other_domain, csr=request, via="test", shown=Shown(secret))
    assert done.device.domain == other_domain
    assert actions(domain, device.key)[-1] == "device.handed-over"
    with pytest.raises(NotFoundError):
        transfer.accept_transfer(actor=person(other_domain, "security-officer"), code=code)


CHANGES = {
    "quarantine": lambda who, device: quarantine.quarantine_device(actor=who, device=device, reason="odd"),
    "end of a quarantine": lambda who, device: quarantine.release_device(actor=who, device=device, reason="fine"),
    "suspension": lambda who, device: registry.suspend_device(actor=who, device=device),
    "erasure": lambda who, device: registry.decommission(actor=who, device=device, confirmed=device.name),
    "a new board": lambda who, device: tokens.replace_board(actor=who, device=device),
    "an offer": lambda who, device: transfer.offer_transfer(actor=who, device=device),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_device_of_another_domain_is_not_found_whoever_hands_it_over(domain, other_domain, enrol, change):
    device = enrol("dev-1").device
    stranger = person(other_domain, "security-officer", "operator")
    with pytest.raises(NotFoundError):
        CHANGES[change](stranger, device)
    kept = Device.objects.get(pk=device.pk)
    assert (kept.state, kept.name, kept.quarantined_at) == (device.state, "dev-1", None)


@pytest.mark.parametrize("change", CHANGES)
def test_who_lacks_the_role_is_refused_before_it_is_told_whether_the_device_exists(domain, other_domain, enrol, change):
    device = enrol("dev-1").device
    for home in (domain, other_domain):
        with pytest.raises(DeniedError, match="This needs the role"):
            CHANGES[change](person(home, "viewer"), device)
