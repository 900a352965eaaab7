"""Requests that this CA reads and certificates that it builds, without a process or a database."""

import subprocess
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from fleet.officer import authority
from pki import x509 as rules
from pki.errors import CsrError
from pki.kernel.errors import InvalidError
from pki.profiles import DEVICE, SERVER
from tests.factories.devices import csr

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = str(uuid.UUID("018f0000-0000-7000-8000-000000000001"))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    authority.make_root_ca(folder, "Root")
    key = ec.generate_private_key(ec.SECP256R1())
    request = rules.authority_csr(key, "Issuing").public_bytes(serialization.Encoding.PEM)
    return rules.Issuer(x509.load_pem_x509_certificate(authority.certify_issuing_ca(folder, request)), key)


def issued(issuer, *, name="sensor-1", profile=DEVICE, until=timedelta(days=3650)):
    now = datetime.now(UTC)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    subject = rules.device_subject("default", KEY, name, public)
    return rules.issue_certificate(issuer, profile, subject, now, now + until)


def test_a_device_certificate_has_every_field_that_the_profile_promises(issuer):
    certificate = issued(issuer)
    found = {one.oid: one for one in certificate.extensions}
    constraints = found[x509.BasicConstraints.oid]
    assert constraints.critical
    assert not constraints.value.ca
    usage = found[x509.KeyUsage.oid]
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert list(found[x509.ExtendedKeyUsage.oid].value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = found[x509.SubjectAlternativeName.oid].value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:muster:device:default:{KEY}"]
    assert names.get_values_for_type(x509.DNSName) == [f"{KEY}.default.device.invalid"]
    above = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert found[x509.AuthorityKeyIdentifier.oid].value.key_identifier == above.digest
    assert x509.SubjectKeyIdentifier.oid in found
    certificate.verify_directly_issued_by(issuer.certificate)


def test_it_never_outlives_its_profile_or_its_issuer(issuer):
    assert issued(issuer).not_valid_after_utc - datetime.now(UTC) <= DEVICE.validity
    short = rules.Issuer(issued_authority(issuer, timedelta(days=3)), issuer.key)
    assert issued(short).not_valid_after_utc == short.certificate.not_valid_after_utc


def issued_authority(issuer, life):
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Short")])
    key = issuer.key.public_key()
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key).serial_number(7)
    builder = builder.not_valid_before(now).not_valid_after(now + life)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def test_serial_numbers_are_positive_and_twenty_octets_long():
    serials = {rules.random_serial() for _ in range(200)}
    assert len(serials) == 200
    assert all(0 < serial < 1 << 159 and (serial.bit_length() + 7) // 8 == 20 for serial in serials)


@pytest.mark.parametrize("name", ["ü" * 64, "🌊" * 40, "x" * 200])
def test_a_long_name_is_cut_to_what_a_common_name_may_hold(issuer, name):
    common = issued(issuer, name=name).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert name.startswith(common)
    assert 0 < len(common.encode()) <= 64


def test_a_request_by_a_p256_key_is_read():
    der, key = csr()
    assert rules.csr_key(rules.parse_csr(der)).public_numbers() == key.public_key().public_numbers()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "secp256k1", "RSA", "Ed25519"],
)
def test_a_request_by_any_other_key_is_refused_with_advice(key):
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    with pytest.raises(CsrError, match="P-256"):
        rules.parse_csr(request.public_bytes(serialization.Encoding.DER))


def test_a_request_that_another_key_has_signed_is_refused():
    der, key = csr()
    other, _ = csr()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    mine = key.public_key().public_bytes(serialization.Encoding.DER, spki)
    theirs = rules.csr_key(rules.parse_csr(other)).public_bytes(serialization.Encoding.DER, spki)
    with pytest.raises(CsrError, match="not signed by the key"):
        rules.parse_csr(der.replace(mine, theirs))


REQUEST, _ = csr()


@given(st.integers(0, len(REQUEST) * 8 - 1))
def test_a_request_with_one_bit_changed_is_refused(at):
    changed = bytearray(REQUEST)
    changed[at // 8] ^= 1 << at % 8
    with pytest.raises(CsrError):
        rules.parse_csr(bytes(changed))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_request_are_refused(junk):
    with pytest.raises(CsrError):
        rules.parse_csr(junk)


def test_an_endless_request_is_refused_before_it_is_parsed():
    with pytest.raises(CsrError, match="the maximum is"):
        rules.parse_csr(b"\x30" * (rules.MAX_CSR + 1))


def test_a_listener_is_named_by_host_names_and_addresses(issuer):
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    subject = rules.server_subject(["fleet.example", "127.0.0.1", "::1"], public)
    certificate = rules.issue_certificate(
        issuer, SERVER, subject, datetime.now(UTC), datetime.now(UTC) + SERVER.validity
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fleet.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("names", [[], ["a"] * 21, ["*.example"], ["bücher.example"], ["a b"], ["x\n"], ["a" * 300]])
def test_a_listener_with_doubtful_names_is_refused(names):
    with pytest.raises(InvalidError):
        rules.server_subject(names, ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    """Return an issuing CA that its root has bounded to one domain's devices, and the root's certificate."""
    folder = tmp_path_factory.mktemp("bounded")
    root = authority.make_root_ca(folder, "Root")
    key = ec.generate_private_key(ec.SECP256R1())
    request = rules.authority_csr(key, "Issuing").public_bytes(serialization.Encoding.PEM)
    permitted = ["default.device.invalid", "fleet.example"]
    return rules.Issuer(
        x509.load_pem_x509_certificate(authority.certify_issuing_ca(folder, request, permitted)), key
    ), root


def test_a_bounded_ca_certifies_the_devices_of_its_domain_and_openssl_agrees(bounded, tmp_path):
    issuer, root = bounded
    leaf, above = tmp_path / "leaf.pem", tmp_path / "issuing.pem"
    leaf.write_bytes(issued(issuer).public_bytes(serialization.Encoding.PEM))
    above.write_bytes(issuer.certificate.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "verify", "-CAfile", str(root), "-untrusted", str(above), str(leaf)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "name", ["other.device.invalid", "notdefault.device.invalid", "evil.example", "device.invalid"]
)
def test_a_bounded_ca_certifies_no_other_name(bounded, name):
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(InvalidError, match="may not certify"):
        rules.issue_certificate(bounded[0], SERVER, rules.server_subject([name], public), NOW, NOW + SERVER.validity)


def test_a_bounded_ca_certifies_its_listeners_by_name_and_address(bounded):
    public, now = ec.generate_private_key(ec.SECP256R1()).public_key(), datetime.now(UTC)
    subject = rules.server_subject(["fleet.example", "a.fleet.example", "127.0.0.1"], public)
    assert rules.issue_certificate(bounded[0], SERVER, subject, now, now + SERVER.validity)
