import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki import der
from pki.csr import challenge_password, csr_key, parse_csr, read_csr
from pki.errors import CsrError
from pki.foreign import read_certificate
from pki.kernel.errors import InvalidError
from pki.kernel.pem import demand_one_block, read_der
from pki.kernel.public_keys import read_pem
from pki.keys import spki
from pki.profiles import ALL_KEY_TYPES
from tests.regressions import regression

DATA = Path(__file__).resolve().parents[1] / "data" / "pki"
P256 = ec.derive_private_key(7, ec.SECP256R1())
CHALLENGE, EXTENSIONS, UNKNOWN = "06092a864886f70d010907", "06092a864886f70d01090e", "06032a0304"
PRINTABLE = der.tlv(0x13, b"x")
CRITICAL_FALSE = b"\x01\x01\x00"


def request(attributes=b"", subject=b"", written=b""):
    """Return a request built by hand, signed by its key."""
    info = (
        b"\x02\x01\x00"
        + (subject or der.tlv(0x30, b""))
        + (written or spki(P256.public_key()))
        + der.tlv(0xA0, attributes)
    )
    tbs = der.tlv(0x30, info)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    return der.signed_der(tbs, algorithm, P256.sign(tbs, ec.ECDSA(hashes.SHA256())))


def attribute(oid, *values, tag=0x31):
    return der.tlv(0x30, bytes.fromhex(oid) + der.tlv(tag, b"".join(values)))


BROKEN = {
    "an empty set": attribute(CHALLENGE),
    "two passwords": attribute(CHALLENGE, PRINTABLE, PRINTABLE),
    "a password that is a number": attribute(CHALLENGE, b"\x02\x01\x05"),
    "two lists of extensions": attribute(EXTENSIONS, b"\x30\x00", b"\x30\x00"),
    "an unknown attribute without a value": attribute(UNKNOWN),
    "a sequence where a set belongs": attribute(CHALLENGE, PRINTABLE, tag=0x30),
    "the same attribute twice": attribute(CHALLENGE, PRINTABLE) * 2,
    "no attribute at all": b"\x05\x00",
}


@regression("B3", "CSR attributes: multi-valued, empty, oddly tagged, twice")
@pytest.mark.parametrize("name", BROKEN)
def test_malformed_attributes_are_refused_by_the_reader(name):
    with pytest.raises(CsrError):
        parse_csr(request(BROKEN[name]))


@regression("B3", "CSR attributes that the standard allows and the library does not read")
def test_attributes_that_the_standard_allows_are_read():
    assert challenge_password(parse_csr(request(attribute(UNKNOWN, b"\x05\x00", PRINTABLE)))) is None
    assert challenge_password(parse_csr(request(attribute(CHALLENGE, der.tlv(0x0C, b"abc"))))) == b"abc"
    assert challenge_password(parse_csr(request())) is None
    parse_csr(DATA.joinpath("csr-attr-two-values.der").read_bytes())


@regression("B3", "latin-1 in a TeletexString, bad UTF-8, odd tags in the subject of a CSR")
@pytest.mark.parametrize("value", [der.tlv(0x14, b"M\xfcnchen"), der.tlv(0x0C, b"\xff\xfe"), der.tlv(0x1E, b"\xd8")])
def test_a_subject_that_cannot_be_read_is_refused_by_the_reader(value):
    name = der.tlv(0x30, bytes.fromhex("060355040a") + value)
    with pytest.raises(CsrError, match=r"subject|PKCS#10"):
        parse_csr(request(subject=der.tlv(0x30, der.tlv(0x31, name))))
    for file in ("csr-o-teletex-latin1.der", "csr-attr-empty-set.der"):
        with pytest.raises(CsrError):
            read_csr(DATA.joinpath(file).read_bytes())


def pss(public):
    """Return the key of an RSA public key, written as id-RSASSA-PSS without parameters."""
    _, bits = der.sequence_parts(spki(public))
    return der.tlv(0x30, bytes.fromhex("300b06092a864886f70d01010a") + bits)


def compressed(public):
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return der.tlv(0x30, der.sequence_parts(spki(public))[0] + der.tlv(3, b"\0" + point))


def without_null(public):
    _, bits = der.sequence_parts(spki(public))
    return der.tlv(0x30, bytes.fromhex("300b06092a864886f70d010101") + bits)


@regression("B9", "RSA-PSS, RSA without NULL, compressed points: what a certificate would carry in other bytes")
def test_a_key_that_a_certificate_would_change_is_refused_before_anything_is_used_up():
    assert csr_key(parse_csr(request()))
    large = rsa.generate_private_key(65537, 2048).public_key()
    for written in (pss(large), without_null(large), compressed(P256.public_key())):
        with pytest.raises(CsrError):
            read_csr(request(written=written), ALL_KEY_TYPES)
    with pytest.raises(CsrError, match="RSA-PSS"):
        read_csr(DATA.joinpath("rsa-pss-key.csr.der").read_bytes(), ALL_KEY_TYPES)


@regression("B9", "every key type: the SubjectPublicKeyInfo that is issued is that of the request, byte for byte")
@pytest.mark.parametrize("make", [lambda: P256, ed25519.Ed25519PrivateKey.generate, lambda: ec.derive_private_key(9, ec.SECP384R1())])  # fmt: skip
def test_the_key_of_a_request_is_kept_byte_for_byte(make):
    key = make()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = read_csr(builder.sign(key, algorithm).public_bytes(Encoding.DER), ALL_KEY_TYPES)
    assert der.sequence_parts(csr.tbs_certrequest_bytes)[2] == spki(csr_key(csr))


def certificate(*, extension=lambda one: one):
    """Return a self-signed certificate whose extensions are changed by hand before it is signed."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vendor")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(P256.public_key())
    builder = builder.serial_number(5).not_valid_before(dt.datetime(2020, 1, 1))  # noqa: DTZ001  because X.509 times are UTC
    builder = builder.not_valid_after(dt.datetime(2040, 1, 1))  # noqa: DTZ001  because X.509 times are UTC
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
    usual = builder.sign(P256, hashes.SHA256())
    *fields, last = der.sequence_parts(usual.tbs_certificate_bytes)
    _, start, _ = der.read_element(last)
    listed = [extension(one) for one in der.sequence_parts(last[start:])]
    tbs = der.tlv(0x30, b"".join(fields) + der.tlv(0xA3, der.tlv(0x30, b"".join(listed))))
    signature = P256.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return der.signed_der(tbs, der.sequence_parts(usual.public_bytes(Encoding.DER))[1], signature)


def critical_false(extension):
    oid, value = der.sequence_parts(extension)
    return der.tlv(0x30, oid + CRITICAL_FALSE + value)


def ca_false(extension):
    oid, _ = der.sequence_parts(extension)
    return der.tlv(0x30, oid + der.tlv(4, der.tlv(0x30, CRITICAL_FALSE)))


@regression("B10", "explicit `critical FALSE` and `cA FALSE` in a vendor's certificate")
@pytest.mark.parametrize("change", [lambda one: one, critical_false, ca_false])
def test_defaults_that_are_written_out_are_read_and_the_signature_holds(change):
    data = certificate(extension=change)
    found = read_certificate(data)
    assert found.is_issued_by(found.certificate)
    assert found.der == data
    broken = bytearray(data)
    broken[data.index(b"vendor")] ^= 1
    assert not read_certificate(bytes(broken)).is_issued_by(found.certificate)


@regression("B3", "certificates with malformed extensions and names, every field touched in the reader")
def test_a_certificate_with_a_malformed_field_is_refused_with_the_field():
    twice = certificate(extension=lambda one: one + one)
    nonsense = certificate(extension=lambda one: der.tlv(0x30, der.sequence_parts(one)[0] + der.tlv(4, b"\xff\x00")))
    for data in (twice, nonsense, b"", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", certificate()[:-9]):
        with pytest.raises(InvalidError, match="The certificate"):
            read_certificate(data)


KEY = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
OTHER = P256.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@regression("B10", "a second key or certificate in a PEM file")
def test_a_second_object_in_a_pem_file_is_refused_not_dropped():
    for text in (KEY + KEY, KEY + OTHER, OTHER + KEY):
        with pytest.raises(InvalidError, match="holds 2 objects"):
            read_pem(text)
        with pytest.raises(InvalidError, match="holds 2 objects"):
            demand_one_block(text, "PUBLIC KEY")
    with pytest.raises(InvalidError, match="lacks its end"):
        demand_one_block(KEY.partition("-----END")[0], "PUBLIC KEY")
    with pytest.raises(InvalidError, match="not PEM"):
        demand_one_block("nothing", "PUBLIC KEY")
    assert read_pem(f"Subject: x\r\n{KEY}\n# a comment\n")
    assert read_der(KEY.replace("\n", "\r\n"), "PUBLIC KEY") == spki(P256.public_key())
