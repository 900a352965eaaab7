"""One shape of SUIT envelope, judged by a COSE library that is not ours; whatever differs by a byte is refused."""

import hashlib
import random
import uuid

import cbor2
import pycddl
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cwt import COSE, COSEKey

from ota.contract import suit
from pki.kernel.errors import InvalidError
from tests.architecture.sources import ROOT
from tests.regressions import regression

VENDOR = uuid.uuid5(uuid.NAMESPACE_DNS, "acme.example")
IMAGE = suit.SuitImage(
    1_795_719_007, VENDOR, uuid.uuid5(VENDOR, "esp32c3-cam"), "app", hashlib.sha256(b"x").digest(), 4096
)


@pytest.fixture(scope="module")
def people():
    return {name: ec.generate_private_key(ec.SECP256R1()) for name in ("anna", "bruno", "carla")}


def signed(people, *names, image=IMAGE):
    manifest = suit.suit_manifest(image)
    made = [people[one].sign(suit.to_be_signed(manifest), ec.ECDSA(hashes.SHA256())) for one in names]
    return suit.suit_envelope(manifest, [suit.raw_signature(one) for one in made])


def publics(people):
    return {name: key.public_key() for name, key in people.items()}


def test_what_is_written_is_read(people):
    image, manifest, signatures = suit.read_envelope(signed(people, "anna", "bruno"))
    assert image == IMAGE
    assert suit.manifest_signers(manifest, signatures, publics(people)) == {"anna", "bruno"}


def test_an_envelope_of_two_people_fits_into_400_bytes(people):
    assert len(signed(people, "anna", "bruno")) <= 400


def test_another_cose_library_accepts_each_signature(people):
    wrapper = cbor2.loads(cbor2.loads(signed(people, "anna", "bruno")).value[2])
    for block, name in zip(wrapper[1:], ("anna", "bruno"), strict=True):
        pem = (
            people[name]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        COSE.new().decode(block, COSEKey.from_pem(pem, alg="ES256"), detached_payload=wrapper[0])


def test_it_is_what_the_schema_says(people):
    schema = (ROOT / "docs" / "reference" / "device-protocol.cddl").read_text()
    pycddl.Schema(f"start = manifest-answer\n{schema}").validate_cbor(signed(people, "anna", "bruno"))


def test_the_digest_is_that_of_the_manifest_as_a_byte_string(people):
    envelope = cbor2.loads(signed(people, "anna"))
    assert envelope.tag == 107
    algorithm, digest = cbor2.loads(cbor2.loads(envelope.value[2])[0])
    assert (algorithm, digest) == (-16, hashlib.sha256(cbor2.dumps(envelope.value[3])).digest())


def test_one_person_twice_is_one_person(people):
    _, manifest, signatures = suit.read_envelope(signed(people, "anna", "anna"))
    assert suit.manifest_signers(manifest, signatures, publics(people)) == {"anna"}


def test_a_signature_over_another_manifest_is_nobodys(people):
    other = suit.SuitImage(
        IMAGE.sequence + 1, *[getattr(IMAGE, name) for name in ("vendor", "hardware", "component", "sha256", "size")]
    )
    _, _, signatures = suit.read_envelope(signed(people, "anna", "bruno"))
    assert suit.manifest_signers(suit.suit_manifest(other), signatures, publics(people)) == set()
    assert suit.manifest_signers(suit.suit_manifest(IMAGE), [bytes(64), b"", b"\1" * 63], publics(people)) == set()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xd8\x6b" + b"\x81" * 3000 + b"\x00", b"\x00" * 5000, b"\xd8\x6b\xa0", cbor2.dumps(cbor2.CBORTag(107, {2: b"", 3: b""})),
     cbor2.dumps({2: b"", 3: b""}), b"\xff", b"\xd8\x6b\xa2\x02\x40\x03\x40"],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(data):
    with pytest.raises(InvalidError):
        suit.read_envelope(data)


def test_another_shape_with_a_good_signature_is_refused(people):
    good = cbor2.loads(signed(people, "anna", "bruno"))
    manifest = cbor2.loads(good.value[3])
    for change in ({1: 2}, {2: -1}, {23: b"install"}, {7: b"\x80"}, {20: cbor2.dumps([21, 15])}):
        body = cbor2.dumps({**manifest, **change}, canonical=True)
        made = people["anna"].sign(suit.to_be_signed(body), ec.ECDSA(hashes.SHA256()))
        with pytest.raises(InvalidError):
            suit.read_envelope(suit.suit_envelope(body, [suit.raw_signature(made)]))


@pytest.mark.parametrize("odd", ["x" * 64, 7, None, b"short", b"\1" * 65])
def test_a_signature_that_is_none_is_refused(people, odd):
    envelope = cbor2.loads(signed(people, "anna"))
    digest = cbor2.loads(envelope.value[2])[0]
    block = cbor2.dumps(cbor2.CBORTag(18, [b"\xa1\x01\x26", {}, None, odd]))
    made = cbor2.dumps(cbor2.CBORTag(107, {2: cbor2.dumps([digest, block]), 3: envelope.value[3]}))
    with pytest.raises(InvalidError):
        suit.read_envelope(made)


def test_no_flipped_bit_and_no_further_byte_passes(people):
    good = signed(people, "anna", "bruno")
    source = random.Random(1)
    for data in (good + b"\0", good[:-1], b"\0" + good):
        with pytest.raises(InvalidError):
            suit.read_envelope(data)
    for _ in range(1000):
        at, bit = source.randrange(len(good)), source.randrange(8)
        flipped = bytearray(good)
        flipped[at] ^= 1 << bit
        try:
            image, manifest, signatures = suit.read_envelope(bytes(flipped))
        except InvalidError:
            continue
        assert suit.manifest_signers(manifest, signatures, publics(people)) != {"anna", "bruno"}, (at, bit)
        assert image


@regression("V1", "one key under two names in a SUIT reader")
def test_one_key_under_two_names_is_one_person(people):
    _, manifest, signatures = suit.read_envelope(signed(people, "anna", "anna"))
    anna = people["anna"].public_key()
    assert suit.manifest_signers(manifest, signatures, {"anna": anna, "mallory": anna}) == {"anna"}


@regression("V6", "SUIT signatures with ESP256, EdDSA and Ed25519, each bound to its kind of key")
def test_an_algorithm_belongs_to_a_kind_of_key(people):
    manifest, edward = suit.suit_manifest(IMAGE), ed25519.Ed25519PrivateKey.generate()
    keys = {**publics(people), "edward": edward.public_key()}
    for algorithm in (suit.ES256, suit.ESP256, suit.EDDSA, suit.ED25519):
        payload = suit.to_be_signed(manifest, algorithm)
        given = suit.raw_signature(people["anna"].sign(payload, ec.ECDSA(hashes.SHA256()))), edward.sign(payload)
        made = suit.suit_envelope(manifest, [suit.CoseSignature(one, algorithm) for one in given])
        _, body, signatures = suit.read_envelope(made)
        assert [one.algorithm for one in signatures] == [algorithm] * 2
        who = {"anna"} if algorithm in {suit.ES256, suit.ESP256} else {"edward"}
        assert suit.manifest_signers(body, signatures, keys) == who
        again = [suit.CoseSignature(one, suit.ES256 if algorithm != suit.ES256 else suit.ESP256) for one in signatures]
        assert suit.manifest_signers(body, again, keys) == set()
    with pytest.raises(InvalidError):
        suit.read_envelope(suit.suit_envelope(manifest, [suit.CoseSignature(bytes(64), -35)]))
