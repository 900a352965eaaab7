"""Lists in shards, spliced from stored entries, as the library and OpenSSL read them."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.officer import authority
from pki import crl, der
from pki import x509 as rules
from pki.kernel.errors import InvalidError
from pki.profiles import DEVICE

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    authority.make_root_ca(folder, "Test Root")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = rules.authority_csr(key, "Test Issuing CA").public_bytes(serialization.Encoding.PEM)
    certificate = x509.load_pem_x509_certificate(authority.certify_issuing_ca(folder, csr))
    return rules.Issuer(certificate, key, "http://127.0.0.1:8445")


@pytest.mark.parametrize("reason", crl.REASONS)
@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**158 + 5])
def test_each_entry_is_what_the_library_makes_of_it(issuer, serial, reason):
    data, _ = crl.build_crl(issuer, 3, crl.crl_entry(serial, NOW, reason), 9, NOW, NOW + WEEK)
    [one] = x509.load_der_x509_crl(data)
    assert (one.serial_number, one.revocation_date_utc) == (serial, NOW)
    if reason == "unspecified":
        assert len(one.extensions) == 0
    else:
        assert one.extensions.get_extension_for_class(x509.CRLReason).value.reason == crl.REASONS[reason]


@pytest.mark.parametrize("many", [0, 1, 2, 1000])
def test_a_list_is_signed_and_holds_what_was_revoked(issuer, many):
    entries = b"".join(crl.crl_entry(one, NOW, "superseded") for one in range(1, many + 1))
    data, held = crl.build_crl(issuer, 255, entries, 77, NOW, NOW + WEEK)
    assert held == many
    read = x509.load_der_x509_crl(data)
    assert read.is_signature_valid(issuer.certificate.public_key())
    assert [one.serial_number for one in read] == list(range(1, many + 1))
    assert read.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 77
    point = read.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert point.value.full_name[0].value.endswith("/ff.crl")


def test_after_2049_the_time_has_four_digits(issuer):
    late = datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC)
    [one] = x509.load_der_x509_crl(
        crl.build_crl(issuer, 0, crl.crl_entry(5, late, "superseded"), 1, NOW, NOW + WEEK)[0]
    )
    assert one.revocation_date_utc == late


@pytest.mark.parametrize(
    "junk", [b"\x30", b"\x30\x05\x02\x01", b"\x04\x03abc", b"\x30\x03\x02\x01\x01", b"\x30\x80\0\0"]
)
def test_what_is_no_entry_is_never_signed(issuer, junk):
    with pytest.raises(InvalidError):
        crl.build_crl(issuer, 0, crl.crl_entry(1, NOW, "superseded") + junk, 1, NOW, NOW + WEEK)


def test_openssl_checks_the_shard_that_the_certificate_names(issuer, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    subject = rules.device_subject("default", "0190b5a0-0000-7000-8000-000000000001", "a", key)
    now = datetime.now(UTC)
    leaf = rules.issue_certificate(issuer, DEVICE, subject, now, now + WEEK)
    shard = rules.shard_of(leaf.serial_number)
    named = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name[0].value
    assert named == rules.crl_url(issuer, shard)
    pem = serialization.Encoding.PEM
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(pem))

    def verdict(number, entries):
        data, _ = crl.build_crl(issuer, number, entries, 5, now - timedelta(minutes=1), now + WEEK)
        (tmp_path / "list.pem").write_bytes(x509.load_der_x509_crl(data).public_bytes(pem))
        command = [
            "openssl",
            "verify",
            "-crl_check",
            "-partial_chain",
            "-CAfile",
            "ca.pem",
            "-CRLfile",
            "list.pem",
            "leaf.pem",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    other = crl.crl_entry(leaf.serial_number ^ 2**90, now, "superseded")
    assert verdict(shard, b"").endswith("leaf.pem: OK\n")
    assert verdict(shard, other).endswith("leaf.pem: OK\n")
    assert "certificate revoked" in verdict(shard, other + crl.crl_entry(leaf.serial_number, now, "keyCompromise"))
    assert "CRL scope" in verdict(shard ^ 1, b"")


def test_der_reads_what_it_writes():
    for size in (0, 1, 127, 128, 255, 256, 70_000):
        made = der.tlv(0x04, b"x" * size)
        assert der.read_element(made) == (0x04, len(made) - size, len(made))
        assert der.sequence_parts(der.tlv(der.SEQUENCE, made + made)) == [made, made]


@pytest.mark.parametrize(
    "junk", ["", "30", "3081", "308101", "30810100", "30820001ff", "3085000000000100", "3003020101ff"]
)
def test_der_refuses_what_is_cut_or_not_canonical(junk):
    with pytest.raises(InvalidError):
        der.sequence_parts(bytes.fromhex(junk))
