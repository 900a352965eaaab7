import json

import cbor2
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from fleet.gateway import codec
from fleet.gateway.ddi import adapter
from fleet.gateway.protocol import DeviceRequest, TransportPeer
from fleet.officer.signing_requests.read import read_request
from ota import sbom
from ota.contract import suit, tuf_json
from ota.manifest import reader
from ota.trust import repository
from pki.kernel import canonical, cbor, intake, strict_json
from pki.kernel.errors import DomainError, InvalidError
from tests.regressions import regression

ROOT = json.loads(Metadata(Root()).to_bytes())


def twice(document: dict, name: str) -> bytes:
    """Return a document as JSON in which one key of the outermost object appears twice."""
    text = json.dumps(document)
    return f'{{"{name}": 1, {text[1:]}'.encode()


def doubled_threshold() -> bytes:
    """Return a root whose threshold is said twice: 2 for one reader, 1 for another."""
    text = json.dumps(ROOT, sort_keys=True)
    return text.replace('"threshold": 1', '"threshold": 2, "threshold": 1', 1).encode()


def asked(body: bytes, kind: str = "application/json") -> DeviceRequest:
    return DeviceRequest(TransportPeer(), "POST", "/v1/x", "", "", body, {"content-type": kind})


#: two equal keys; the second pair is another spelling of the key 1 (RFC 8949, 4.2.1: not the shortest)
CBOR_TWICE = b"\xa2\x61a\x01\x61a\x02"
SUIT_TWICE = b"\xd8\x6b\xa3\x02\x40\x03\x40\x18\x03\x40"
PARSERS = {
    "canonical JSON": lambda: canonical.loads(b'{"a":1,"a":2}', max_bytes=100),
    "JSON": lambda: strict_json.read_json(b'[{"b":{"a":1,"\\u0061":2}}]', max_bytes=100),
    "JSON of foreign clients": lambda: strict_json.read_json(b'{"a":1,"a":2}', max_bytes=100, lenient=True),
    "DDI": lambda: adapter._read(asked(b'{"data":{},"data":{}}')),
    "device protocol in JSON": lambda: codec.decode_body(asked(b'{"a":1,"a":2}'), None),
    "device protocol in CBOR": lambda: codec.decode_body(asked(CBOR_TWICE, codec.CBOR), None),
    "CBOR": lambda: cbor.loads(CBOR_TWICE, max_bytes=100),
    "SUIT": lambda: suit.read_envelope(SUIT_TWICE),
    "bundle.json": lambda: reader.parse_manifest(twice({"schema": 1}, "schema")),
    "SBOM": lambda: sbom.read_bill(twice({"bomFormat": "CycloneDX", "specVersion": "1.5"}, "bomFormat"), "0" * 64),
    "signing request": lambda: read_request(twice({"statement": "x"}, "statement")),
    "TUF metadata, server": lambda: repository.load_document(doubled_threshold(), Root),
    "TUF metadata, agent and officers' tool": lambda: Metadata.from_bytes(
        doubled_threshold(), tuf_json.StrictDeserializer()
    ),
    "TUF metadata as it is fetched": lambda: tuf_json.read_metadata(doubled_threshold()),
}


@regression("V3", "each parser of outside data, given a key twice")
@pytest.mark.parametrize("name", PARSERS)
def test_a_key_that_appears_twice_is_refused(name):
    with pytest.raises((DomainError, RepositoryError)) as refused:
        PARSERS[name]()
    assert name == "SBOM" or "twice" in f"{refused.value} {refused.value.__cause__}"


def test_the_same_root_with_each_key_once_is_read():
    assert CryptoSigner  # python-tuf's own signers write what our reader takes
    data = json.dumps(ROOT).encode()
    assert (
        repository.load_document(data, Root).signed == Metadata.from_bytes(data, tuf_json.StrictDeserializer()).signed
    )


@regression("B5", "integers beyond 64 bits, NaN, infinity and bignums, with the place in the sentence")
@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" * 5000, "1e999", "NaN"])
def test_numbers_that_no_column_holds_are_refused_with_their_place(number):
    with pytest.raises(InvalidError, match=r"`config\.ports\[1\]`"):
        strict_json.read_json(b'{"config":{"ports":[1,%s]}}' % number.encode(), max_bytes=9000)


@regression("B5", "CBOR integers of 64 bits without sign, bignum tags, NaN, infinity")
@pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, -(2**70), float("nan"), float("-inf")])
def test_cbor_numbers_that_no_column_holds_are_refused(value):
    with pytest.raises(InvalidError):
        cbor.loads(cbor2.dumps({"config": value}), max_bytes=100)
    assert cbor.loads(cbor2.dumps([2**63 - 1, -(2**63)]), max_bytes=100) == [2**63 - 1, -(2**63)]


@regression("B5", "JSON nested 5,000 deep")
def test_deep_nesting_is_refused_before_it_is_parsed():
    for data in (b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 5000):
        with pytest.raises(InvalidError, match="deeper than 16"):
            strict_json.read_json(data, max_bytes=100_000)
    assert strict_json.read_json(b'["' + b"[" * 5000 + b'\\"]"]', max_bytes=9000), "brackets in a text are no nesting"


@regression("B2", "lone surrogates and NUL in texts and names of JSON")
@pytest.mark.parametrize("text", ["\\ud800", "\\udfff\\ud800", "a\\u0000", "\\ud83d x"])
def test_text_that_cannot_be_stored_is_refused_with_its_place(text):
    with pytest.raises(InvalidError, match="`site`"):
        strict_json.read_json(b'{"site":"%s"}' % text.encode(), max_bytes=100)
    with pytest.raises(InvalidError, match="name in tags"):
        strict_json.read_json(b'{"tags":{"%s":1}}' % text.encode(), max_bytes=100)
    found = strict_json.read_json(b'{"site":"%s"}' % text.encode(), max_bytes=100, lenient=True)
    assert found["site"].encode()
    assert intake.REPLACEMENT in found["site"]


@regression("B2", "controls, directions, invisible and unassigned characters in names")
@pytest.mark.parametrize(
    "char", ["\x00", "\n", "\x7f", "\x85", "\u202e", "\u2066", "\u200b", "\ufeff", "\ue000", "\u2028", "\U000e0001"]
)
def test_names_hold_printable_characters_only(char):
    with pytest.raises(InvalidError, match=r"`name` holds the character U\+"):
        intake.check_identifier(f"a{char}b", "name")


def test_names_are_kept_in_composed_form_and_other_scripts_are_names():
    assert intake.check_identifier("Mu\u0308nchen", "name") == "München"
    for name in ("Зал 3", "工場-1", "قاعة", "ห้อง", "na\u0308ive 🙂"):
        assert intake.check_identifier(name, "name")
    with pytest.raises(InvalidError, match="longer than 3 characters"):
        intake.check_identifier("abcd", "name", most=3)
    with pytest.raises(InvalidError, match="longer than 5 bytes"):
        intake.read_text("äöü", "name", most=3, most_bytes=5)


def test_free_text_is_replaced_cut_and_marked_never_refused():
    assert intake.kept_text("a\0b\u202ec\ud800", 40) == "a\ufffdb\ufffdc\ufffd [characters replaced]"
    cut = intake.kept_text("x" * 100, 40)
    assert (len(cut), cut.endswith("x [cut]")) == (40, True)
    assert intake.kept_text("fine\n\ttext", 40) == "fine\n\ttext"


def test_a_hostile_document_is_walked_without_recursion():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidError, match="levels of nesting"):
        intake.check_document(deep)
    with pytest.raises(InvalidError, match="more than 10 values"):
        intake.check_document(list(range(50)), most_items=10)
