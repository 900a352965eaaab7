"""The identity of a key is that of its canonical SubjectPublicKeyInfo, however the key is written."""

import hashlib
import textwrap

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.kernel import edwards, names, public_keys
from pki.kernel.errors import InvalidError
from tests.regressions import regression

DER, PEM, X962 = serialization.Encoding.DER, serialization.Encoding.PEM, serialization.Encoding.X962
SPKI, POINT = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.UncompressedPoint
#: points of order 1, 2, 4 and 8, and second encodings of some (RFC 8032 leaves them to the verifier)
WEAK = [
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "00" * 32,
    "00" * 31 + "80",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ee" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
]


def body(der):
    import base64

    return base64.b64encode(der).decode()


@regression("V1", "one P-256 key in PEM of every spelling, compressed and hybrid points, COSE and raw")
def test_a_p256_key_has_one_identity():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der, pem = key.public_bytes(DER, SPKI), key.public_bytes(PEM, SPKI).decode()
    point = key.public_bytes(X962, POINT)
    x, y = point[1:33], point[33:]
    small = key.public_bytes(X962, serialization.PublicFormat.CompressedPoint)
    hybrid = bytes([6 + (y[-1] & 1)]) + x + y
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    in_lines = "\n".join(textwrap.wrap(body(head + small), 64))
    compressed = f"-----BEGIN PUBLIC KEY-----\n{in_lines}\n-----END PUBLIC KEY-----\n"
    tuf = [("ecdsa", text) for text in (pem, pem.replace("\n", "\r\n"), "mine\n" + pem + "\n\n", compressed)]
    found = {
        *(public_keys.key_identity(public_keys.read_tuf(kind, "ecdsa-sha2-nistp256", text)) for kind, text in tuf),
        *(public_keys.key_identity(public_keys.read_raw(raw)) for raw in (point, small, hybrid)),
        public_keys.key_identity(public_keys.read_cose({1: 2, 3: -7, -1: 1, -2: x, -3: y})),
        public_keys.key_identity(public_keys.read_cose({1: 2, -1: 1, -2: x, -3: bool(y[-1] & 1)})),
    }
    assert found == {hashlib.sha256(der).hexdigest()}
    assert public_keys.short_fingerprint(found.pop()).count("-") == 7


def test_an_ed25519_key_has_one_identity():
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    spaced = " ".join(raw.hex()[at : at + 2] for at in range(0, 64, 2))
    found = [
        *(public_keys.read_tuf("ed25519", "ed25519", text) for text in (raw.hex(), raw.hex().upper(), spaced)),
        public_keys.read_raw(raw),
        public_keys.read_cose({1: 1, -1: 6, -2: raw}),
    ]
    assert len({public_keys.key_identity(one) for one in found}) == 1


@regression("V1", "Ed25519 points for which everybody can sign, and second encodings of a point")
@pytest.mark.parametrize("text", WEAK)
def test_points_that_are_nobodys_are_refused(text):
    assert not edwards.is_strong(bytes.fromhex(text))
    with pytest.raises(InvalidError):
        public_keys.read_tuf("ed25519", "ed25519", text)


def test_keys_of_another_type_than_they_say_are_refused():
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505  because it has to be refused
    small = small.public_key().public_bytes(PEM, SPKI).decode()
    other = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(PEM, SPKI).decode()
    for keytype, scheme, text in (
        ("ecdsa", "ecdsa-sha2-nistp256", other),
        ("rsa", "rsassa-pss-sha256", other),
        ("rsa", "rsassa-pss-sha256", small),
        ("ed25519", "ed25519", other),
        ("ed25519", "ecdsa-sha2-nistp256", other),
        ("gpg", "gpg", ""),
    ):
        with pytest.raises(InvalidError):
            public_keys.read_tuf(keytype, scheme, text)
    for odd in ({}, {1: 2, -1: 2, -2: b"", -3: b""}, {1: 1, -1: 6, -2: b"short"}):
        with pytest.raises(InvalidError):
            public_keys.read_cose(odd)
    for fields in ({}, None, [], {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": 7}}):
        with pytest.raises(InvalidError):
            public_keys.read_tuf_fields(fields)


@regression("V6", "names of people with spaces and dots at an end, percent signs, slashes")
@pytest.mark.parametrize(
    "name", ["a ", " a", "a.", ".a", "", "a/b", "%2e%2e/b", "a\\b", "a\nb", "a\u200bb", "a  b", "a..b", 7]
)
def test_names_of_people(name):
    with pytest.raises(InvalidError, match="is refused"):
        names.check_person(name)


LOOKALIKES = [
    "anna\ufe0f", "an\u034fna", "anna\u3164", "\u0430nna", "ann\u03b1", "anna\U000e0101", "an\u180bna", "\uff41nna",
]  # fmt: skip


@regression("V1", "names that look like another person's: letters of another script, characters that are not seen")
@pytest.mark.parametrize("name", LOOKALIKES)
def test_names_that_look_alike_are_one(name):
    with pytest.raises(InvalidError, match="is refused"):
        names.check_person(name)
    assert names.fold_person(name) == "anna"


def test_names_that_differ_in_what_is_not_seen_are_one_person():
    same = ("anna", "Anna", "ANNA\u200b", "anna ", "anna.", "\u0430nn\u0430", "\u0410NNA", "a\u00adnna")
    assert {names.fold_person(one) for one in same} == {"anna"}
    assert names.fold_person("O\u2019Neil") == names.fold_person("O'Neil")
    assert len({names.fold_person(one) for one in ("anna", "annb", "anna b", "\u00e4nna", "\u738b\u4f1f")}) == 5


def test_names_that_people_have():
    for name in (
        "Anna \u0418\u0432\u0430\u043d\u043e\u0432\u0430",
        "\u0395\u03bb\u03ad\u03bd\u03b7",
        "\u5c71\u7530\u3055\u3093",
        "anna",
        "Jürgen Müller",
        "O'Neil",
        "王伟",
        "Anna-Lena B.C. Smith",
        "x1",
    ):
        assert names.check_person(name) == name
