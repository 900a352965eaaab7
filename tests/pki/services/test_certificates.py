"""Certificates of a domain: issued through the signer, revoked for good, and never another domain's business."""

import uuid
from datetime import timedelta

import pytest
from django.db import transaction

from pki import selectors
from pki.errors import CsrError
from pki.kernel import actor as actors
from pki.kernel.errors import ConflictError, DeniedError, InvalidError, NotFoundError
from pki.models import Certificate, LedgerEntry
from pki.profiles import DEVICE
from pki.services import authorities, certificates, domains, journal, restore_check
from pki.services.certificates import CertificateStanding
from tests.factories.devices import csr
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


@pytest.fixture
def issued(domain):
    """Return a certificate of a new device."""
    der, _ = csr()
    key = str(uuid.uuid4())
    return certificates.issue_device(
        actor=actors.device_actor(domain.slug, key), csr=der, device_key=key, device_name="sensor"
    ).certificate


@pytest.fixture
def stranger(signer, offline, domain):
    """Return another domain, complete with its CA."""
    from fleet.officer import authority

    slug = f"s{uuid.uuid4().hex[:8]}"
    who = actors.system_actor(slug, "test")
    made = domains.create(actor=who, slug=slug, name="Stranger", host_names=[f"{slug}.example"])
    root = (offline / "root-ca" / "root-ca.pem").read_bytes()
    issued = authority.certify_issuing_ca(offline / "root-ca", authorities.issuing_csr(actor=who, name="Stranger CA"))
    authorities.install(actor=who, certificate=issued, root=root)
    return made


def test_an_issued_certificate_is_kept_with_its_ledger_entry(domain, issued):
    assert selectors.certificate_by_fingerprint(issued.fingerprint) == issued
    assert selectors.certificates_of(actor=system(domain), subject_key=issued.subject_key) == [issued]
    assert issued.subject_urn == f"urn:muster:device:{domain.slug}:{issued.subject_key}"
    entry = LedgerEntry.objects.get(domain=domain, action="certificate.issued")
    assert entry.detail["fingerprint"] == issued.fingerprint
    assert (entry.actor_kind, entry.actor_key) == ("device", issued.subject_key)


def test_a_bad_request_leaves_nothing(domain):
    der, _ = csr()
    before = LedgerEntry.objects.count()
    with pytest.raises((CsrError, InvalidError)):
        certificates.issue_device(
            actor=system(domain), csr=der[:-3], device_key=str(uuid.uuid4()), device_name="sensor"
        )
    assert Certificate.objects.filter(domain=domain).count() == 0
    assert LedgerEntry.objects.count() == before


def test_a_revocation_stays(domain, issued):
    certificates.revoke(
        actor=person(domain, "security-officer"), fingerprint=issued.fingerprint.upper(), reason="keyCompromise"
    )
    first = selectors.certificate_by_fingerprint(issued.fingerprint).revoked_at
    certificates.revoke(actor=system(domain), fingerprint=issued.fingerprint, reason="superseded")
    again = selectors.certificate_by_fingerprint(issued.fingerprint)
    assert (again.revoked_at, again.revocation_reason) == (first, "keyCompromise")
    assert LedgerEntry.objects.filter(domain=domain, action="certificate.revoked").count() == 1


def test_a_revocation_survives_a_restore(domain, issued, journal_files):
    certificates.revoke(actor=system(domain), fingerprint=issued.fingerprint, reason="keyCompromise")
    Certificate.objects.filter(pk=issued.pk).update(revoked_at=None, revocation_reason="")
    assert restore_check.resume_after_restore().applied == {"revoked": 1}
    back = selectors.certificate_by_fingerprint(issued.fingerprint)
    assert back.revoked_at
    assert back.revocation_reason == "keyCompromise"


def test_a_revocation_that_failed_leaves_the_fact_and_the_next_start_applies_it(domain, issued, journal_files):
    def fail():
        with transaction.atomic():
            certificates.revoke(actor=system(domain), fingerprint=issued.fingerprint, reason="keyCompromise")
            raise ConflictError("the power went")

    with pytest.raises(ConflictError):
        fail()
    assert selectors.certificate_by_fingerprint(issued.fingerprint).revoked_at is None
    assert [fact["kind"] for fact in journal.read_facts()] == ["revoked"]
    restore_check.require_current()
    assert selectors.certificate_by_fingerprint(issued.fingerprint).revoked_at


@pytest.mark.parametrize("roles", [("viewer",), ("operator",), ("release-officer",), ("admin",)])
def test_only_a_security_officer_revokes(domain, issued, roles):
    with pytest.raises(DeniedError, match="security-officer"):
        certificates.revoke(actor=person(domain, *roles), fingerprint=issued.fingerprint, reason="keyCompromise")
    with pytest.raises(DeniedError):
        certificates.revoke(
            actor=actors.device_actor(domain.slug, issued.subject_key),
            fingerprint=issued.fingerprint,
            reason="keyCompromise",
        )


@pytest.mark.parametrize("reason", ["", "because", "removeFromCRL", "certificateHold", "KEYCOMPROMISE"])
def test_a_reason_is_one_of_the_standards(domain, issued, reason):
    with pytest.raises(InvalidError, match="keyCompromise"):
        certificates.revoke(actor=system(domain), fingerprint=issued.fingerprint, reason=reason)


def test_how_a_certificate_stands_at_each_moment(domain, issued):
    issued = selectors.certificate_by_fingerprint(issued.fingerprint)
    second = timedelta(seconds=1)
    moments = {
        issued.not_before - second: CertificateStanding.NOT_YET,
        issued.not_before: CertificateStanding.GOOD,
        issued.not_after: CertificateStanding.GOOD,
        issued.not_after + second: CertificateStanding.RENEWABLE,
        issued.not_after + DEVICE.grace: CertificateStanding.RENEWABLE,
        issued.not_after + DEVICE.grace + second: CertificateStanding.EXPIRED,
    }
    assert {at: certificates.certificate_status(issued, at) for at in moments} == moments
    issued.authority.not_after = issued.not_before + second
    assert certificates.certificate_status(issued, issued.not_before + 2 * second) is CertificateStanding.EXPIRED
    issued.revoked_at = issued.not_before
    assert {certificates.certificate_status(issued, at) for at in moments} == {CertificateStanding.REVOKED}


def test_no_selector_or_service_reaches_into_another_domain(domain, issued, stranger):
    slug = stranger.slug
    with pytest.raises(NotFoundError):
        selectors.get_certificate(actor=actors.system_actor(slug, "test"), fingerprint=issued.fingerprint)
    assert selectors.certificates_of(actor=actors.system_actor(slug, "test"), subject_key=issued.subject_key) == []
    assert not selectors.list_certificates(actor=actors.system_actor(slug, "test")).exists()
    mine = {one.fingerprint for one in selectors.list_authorities(actor=system(domain)) if one.kind == "issuing"}
    assert not mine & {one.fingerprint for one in selectors.list_authorities(actor=actors.system_actor(slug, "test"))}
    assert {
        one.domain.slug
        for one in selectors.ledger_entries(actor=actors.system_actor(slug, "test")).select_related("domain")
    } == {slug}
    with pytest.raises(NotFoundError):
        certificates.revoke(actor=system(stranger), fingerprint=issued.fingerprint, reason="keyCompromise")
    assert selectors.certificate_by_fingerprint(issued.fingerprint).revoked_at is None


def test_a_certificate_of_another_domain_cannot_be_kept_in_this_one(domain, issued, stranger):
    der = bytes(issued.der)
    issued.delete()
    with pytest.raises((InvalidError, NotFoundError)):
        certificates.keep_certificate(domain=stranger, der=der)


@pytest.mark.parametrize("slug", ["", "A", "a_b", "-a", "../x", "a" * 41, "ä"])
def test_a_domain_has_a_slug_that_fits_into_names(slug):
    with pytest.raises(InvalidError, match="slug"):
        domains.create(actor=actors.system_actor("x", "test"), slug=slug, name="X", host_names=[])


def test_a_host_name_belongs_to_one_domain(domain):
    taken = domain.host_names[0].upper()
    with pytest.raises(ConflictError, match="belongs to another"):
        domains.create(actor=actors.system_actor("x", "test"), slug="x-second", name="X", host_names=[taken])
