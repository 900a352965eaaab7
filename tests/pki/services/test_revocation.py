"""Revocation reaches lists and OCSP, follows the lineage, and is never taken back."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from pki import selectors
from pki.kernel import clock
from pki.models import Certificate, CrlShard
from pki.services import certificates, crls, signing
from pki.services.responders import Responders
from tests.factories.devices import csr
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
DER = serialization.Encoding.DER


def issue(domain, renewed_from=None, key="0190b5a0-0000-7000-8000-000000000001"):
    return certificates.issue_device(
        actor=system(domain),
        csr=csr()[0],
        device_key=key,
        device_name="a",
        occasion=certificates.Occasion(renewed_from),
    ).certificate


def revoke(domain, certificate, reason="superseded", lineage=None):
    return certificates.revoke(
        actor=system(domain), fingerprint=certificate.fingerprint, reason=reason, lineage=lineage
    )


def listed(certificate):
    serial = int(certificate.serial, 16)
    path = crls.crl_folder(certificate.authority.key_id) / f"{serial % 256:02x}.crl"
    return x509.load_der_x509_crl(path.read_bytes()).get_revoked_certificate_by_serial_number(serial)


def shard_of(certificate):
    return CrlShard.objects.get(key_id=certificate.authority.key_id, shard=int(certificate.serial, 16) % 256)


def ask(domain, certificate, responders, algorithm=None, nonce=None):
    leaf = x509.load_der_x509_certificate(bytes(certificate.der))
    above = x509.load_der_x509_certificate(selectors.authority_der(certificate.authority.key_id))
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, above, algorithm or hashes.SHA256())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    answer = responders.answer(builder.build().public_bytes(DER))
    return ocsp.load_der_ocsp_response(answer.der)


def test_the_first_run_publishes_all_shards_and_the_next_only_what_changed(domain):
    certificate = issue(domain)
    assert crls.publish_due(domain=domain) == 256
    assert crls.publish_due(domain=domain) == 0
    assert listed(certificate) is None
    revoke(domain, certificate, "keyCompromise")
    assert crls.publish_due(domain=domain) == 1
    assert listed(certificate).extensions.get_extension_for_class(x509.CRLReason).value.reason.name == "key_compromise"


def test_numbers_of_lists_only_grow(domain):
    crls.publish_due(domain=domain)
    row = CrlShard.objects.filter(domain=domain).first()
    numbers = [row.number]
    for _ in range(3):
        crls.publish_list(domain=domain, row=row)
        numbers.append(row.number)
    assert numbers == sorted(set(numbers))


def test_a_worker_that_wakes_up_puts_no_older_list_over_a_newer_one(domain):
    certificate = issue(domain)
    crls.publish_due(domain=domain)
    read_before = shard_of(certificate)
    revoke(domain, certificate, "keyCompromise")
    assert crls.publish_due(domain=domain) == 1
    number = shard_of(certificate).number
    assert not crls.publish_list(domain=domain, row=read_before)
    assert listed(certificate) is not None
    assert shard_of(certificate).number == number
    assert crls.publish_due(domain=domain) == 1  # to be sure


def test_what_is_revoked_while_its_list_is_signed_comes_out_with_the_next_one(domain):
    certificate = issue(domain)
    crls.publish_due(domain=domain)
    row, now = shard_of(certificate), clock.now()
    entries = crls._entries(row, now)
    signed = signing.signer_client("work").sign_crl(domain.slug, row.key_id, row.shard, b"".join(entries))
    revoke(domain, certificate, "keyCompromise")
    assert crls._put_in_place(row, entries, signed, now)
    assert listed(certificate) is None
    assert crls.publish_due(domain=domain) == 1
    assert listed(certificate) is not None
    assert crls.publish_due(domain=domain) == 0


def test_a_list_stays_due_until_it_is_in_place(domain, monkeypatch, tmp_path):
    certificate = issue(domain)
    crls.publish_due(domain=domain)
    revoke(domain, certificate)
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setattr(crls, "crl_folder", lambda _key: in_the_way)
    with pytest.raises(OSError):
        crls.publish_due(domain=domain)
    assert shard_of(certificate).dirty


def test_ocsp_says_good_then_revoked_with_either_hash(domain):
    certificate, responders = issue(domain), Responders()
    for algorithm in (hashes.SHA1(), hashes.SHA256()):  # noqa: S303  because clients ask by it
        assert ask(domain, certificate, responders, algorithm).certificate_status is ocsp.OCSPCertStatus.GOOD
    revoke(domain, certificate, "keyCompromise")
    answer = ask(domain, certificate, responders)
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_reason is x509.ReasonFlags.key_compromise


def test_ocsp_is_signed_by_a_responder_that_the_ca_delegated(domain):
    certificate = issue(domain)
    answer = ask(domain, certificate, Responders(), nonce=b"0123456789abcdef")
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"0123456789abcdef"
    [delegate] = answer.certificates
    delegate.verify_directly_issued_by(
        x509.load_der_x509_certificate(selectors.authority_der(certificate.authority.key_id))
    )
    usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING]
    assert delegate.extensions.get_extension_for_class(x509.OCSPNoCheck)


def test_a_serial_that_was_never_issued_is_unknown_not_good(domain):
    certificate = issue(domain)
    above = x509.load_der_x509_certificate(selectors.authority_der(certificate.authority.key_id))
    leaf = x509.load_der_x509_certificate(bytes(certificate.der))
    real = ocsp.OCSPRequestBuilder().add_certificate(leaf, above, hashes.SHA256()).build()
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        real.issuer_name_hash, real.issuer_key_hash, 0xABCDEF, hashes.SHA256()
    )
    answer = ocsp.load_der_ocsp_response(Responders().answer(request.build().public_bytes(DER)).der)
    assert answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN


@pytest.mark.parametrize("data", [b"", b"\x30", b"x" * 5000, b"\x30\x03\x02\x01\x01"])
def test_what_is_no_request_is_answered_as_malformed(db, data):
    answer = ocsp.load_der_ocsp_response(Responders().answer(data).der)
    assert answer.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_another_ca_is_none_of_our_business(domain):
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(b"\1" * 32, b"\2" * 32, 5, hashes.SHA256())
    answer = ocsp.load_der_ocsp_response(Responders().answer(request.build().public_bytes(DER)).der)
    assert answer.response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_a_stolen_key_takes_what_was_renewed_from_it_along(domain):
    first = issue(domain)
    second = issue(domain, first)
    third, fourth = issue(domain, second), issue(domain, second)
    other = issue(domain)
    revoke(domain, first, "keyCompromise")
    revoked = set(Certificate.objects.filter(revoked_at__isnull=False).values_list("pk", flat=True))
    assert revoked == {first.pk, second.pk, third.pk, fourth.pk}
    assert other.pk not in revoked


def test_an_ordinary_reason_leaves_the_lineage_alone_unless_asked(domain):
    first = issue(domain)
    second = issue(domain, first)
    revoke(domain, first, "superseded")
    second.refresh_from_db()
    assert second.revoked_at is None
    third = issue(domain, second)
    revoke(domain, second, "superseded", lineage=True)
    third.refresh_from_db()
    assert third.revoked_at is not None


def test_the_preview_names_what_a_revocation_would_hit(domain):
    first = issue(domain)
    second = issue(domain, first)
    assert [one.pk for one in certificates.renewed_certificates(first)] == [second.pk]
