"""A new root comes beside the old one; nobody is cut off, and the switch waits until everybody can follow."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from devices.models import Twin
from devices.services import registry, rollover, twins
from fleet.officer import authority
from pki import selectors
from pki.kernel.actor import Actor, ActorKind, Role
from pki.kernel.errors import ConflictError, DeniedError, InvalidError
from pki.models import Authority, LedgerEntry
from pki.services import authorities, certificates
from tests.factories.devices import csr
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db
PEM = serialization.Encoding.PEM


def officer(domain, name):
    return Actor(ActorKind.OPERATOR, name, domain.slug, frozenset({Role.SECURITY_OFFICER}), "test")


@pytest.fixture
def new_root(tmp_path):
    authority.make_root_ca(tmp_path / "new", "New Root")
    return tmp_path / "new"


@pytest.fixture
def second(domain, new_root, offline):
    """Return the issuing CA below a new root, with both links installed."""
    by = system(domain)
    request = authorities.issuing_csr(actor=by, name="Second CA")
    root = (new_root / "root-ca.pem").read_bytes()
    made = authorities.install(actor=by, certificate=authority.certify_issuing_ca(new_root, request), root=root)
    old = offline / "root-ca"
    authorities.install_link(actor=by, certificate=authority.cross_certify(old, root))
    authorities.install_link(
        actor=by, certificate=authority.cross_certify(new_root, (old / "root-ca.pem").read_bytes())
    )
    return made


def issue(domain):
    one = certificates.issue_device(
        actor=system(domain), csr=csr()[0], device_key="0190b5a0-0000-7000-8000-000000000001", device_name="a"
    )
    return x509.load_der_x509_certificate(bytes(one.certificate.der))


def trusts(device, *roots):
    twin, seen = Twin.objects.get(device=device), {"anchors": sorted(root.fingerprint for root in roots)}
    by = Actor(ActorKind.DEVICE, device.key, device.domain.slug, frozenset(), "test")
    twins.store_report(actor=by, device=device, sequence=twin.report_sequence + 1, components={}, seen=seen)


def test_both_anchors_lead_to_both_trees_by_the_links(domain, second, offline, new_root, tmp_path):
    first = issue(domain)
    trusts_nobody = rollover.switch_readiness(actor=person(domain, "viewer"), key_id=second.key_id)
    assert (trusts_nobody.behind, trusts_nobody.linked) == (0, True)
    rollover.switch_issuing_ca(actor=officer(domain, "anna"), key_id=second.key_id)
    later = issue(domain)
    assert first.issuer != later.issuer
    (tmp_path / "chain.pem").write_bytes(
        b"".join(
            one.public_bytes(PEM) for one in selectors.trust_anchors(actor=system(domain)) if one.subject != one.issuer
        )
    )
    for anchor in (offline / "root-ca" / "root-ca.pem", new_root / "root-ca.pem"):
        for number, leaf in enumerate((first, later)):
            path = tmp_path / f"leaf-{number}.pem"
            path.write_bytes(leaf.public_bytes(PEM))
            command = ["openssl", "verify", "-CAfile", anchor, "-untrusted", tmp_path / "chain.pem", path]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert "OK" in done.stdout, (anchor, number, done.stderr)


def test_a_new_ca_changes_nothing_until_somebody_switches(domain, second):
    issuers = {issue(domain).issuer.rfc4514_string() for _ in range(3)}
    assert issuers == {"CN=Test Issuing CA"}


def test_the_switch_waits_for_devices_that_trust_only_the_old_root(domain, second, enrol):
    old, new = Authority.objects.filter(domain=domain, kind="root").order_by("id")
    devices = [enrol(f"dev-{number}").device for number in range(3)]
    trusts(devices[0], old, new)
    trusts(devices[1], old)
    anna = officer(domain, "anna")
    with pytest.raises(
        ConflictError, match=r"2 active devices do not trust the new root yet \(such as dev-[12], dev-[12]\)"
    ):
        rollover.switch_issuing_ca(actor=anna, key_id=second.key_id)
    for device in devices[1:]:
        trusts(device, old, new)
    rollover.switch_issuing_ca(actor=anna, key_id=second.key_id)
    assert LedgerEntry.objects.get(action="authority.switched").detail["behind"] == 0


def test_devices_that_left_do_not_count_and_an_erased_one_keeps_no_roots(domain, second, enrol):
    old_root = Authority.objects.filter(domain=domain, kind="root").order_by("id")[0]
    kept, gone = enrol("dev-1").device, enrol("dev-2").device
    for device in (kept, gone):
        trusts(device, old_root)
    admin = officer(domain, "anna")
    registry.decommission(actor=admin, device=gone, confirmed=gone.name)
    found = rollover.switch_readiness(actor=admin, key_id=second.key_id)
    assert (found.ready, found.behind) == (0, 1)
    gone.refresh_from_db()
    assert gone.trusted_roots is None
    trusts(kept, second.parent)
    assert rollover.switch_readiness(actor=admin, key_id=second.key_id).ready == 1


def test_an_override_takes_two_people_and_is_recorded(domain, second, enrol):
    enrol("dev-1")
    anna, bruno = officer(domain, "anna"), officer(domain, "bruno")
    for _ in range(2):
        with pytest.raises(ConflictError, match="second security officer"):
            rollover.switch_issuing_ca(actor=anna, key_id=second.key_id, override=True)
    with pytest.raises(ConflictError, match="People request"):
        rollover.switch_issuing_ca(actor=system(domain), key_id=second.key_id, override=True)
    rollover.switch_issuing_ca(actor=bruno, key_id=second.key_id, override=True)
    assert LedgerEntry.objects.get(action="authority.switched").detail["override"] == [
        "operator:anna",
        "operator:bruno",
    ]


def test_only_security_officers_switch(domain, second):
    with pytest.raises(DeniedError):
        rollover.switch_issuing_ca(actor=person(domain, "operator"), key_id=second.key_id)


def test_a_link_to_an_unknown_root_is_refused(domain, new_root, offline):
    foreign = authority.cross_certify(new_root, (offline / "root-ca" / "root-ca.pem").read_bytes())
    with pytest.raises(InvalidError, match="two of this domain's roots"):
        authorities.install_link(actor=system(domain), certificate=foreign)


def test_the_last_issuing_ca_cannot_be_retired(domain, second):
    by = officer(domain, "anna")
    first = Authority.objects.filter(domain=domain, kind="issuing").order_by("id")[0]
    authorities.retire(actor=by, key_id=first.key_id)
    with pytest.raises(ConflictError, match="last issuing CA"):
        authorities.retire(actor=by, key_id=second.key_id)
