"""Version texts: which are taken, which look older than another, and what a format that cannot hold one says."""

import json
from uuid import UUID

import pytest

from ota.contract import composite
from ota.errors import RefusedBundleError
from ota.formats import esp
from ota.formats.judgement import Judgement
from ota.manifest import agreement, parse_manifest
from ota.manifest.versions import looks_older
from pki.kernel.errors import InvalidError
from tests.regressions import regression

REAL = [
    "1.2.3", "v1.2.3", "v1.2-3-gabc1234-dirty", "a1b2c3d", "1.2.3.4.5", "1.0.0~rc1", "2024.05_1", "kirkstone-4.0.2",
    "1:2.0-1ubuntu1", "release 7", "5.15.0-1051-aws+build.20240501T1200.deadbeef", "ü-1", "1.0?a=b&c#d%20", "x" * 64,
]  # fmt: skip
WRONG = [
    "",
    " 1",
    "1 ",
    "1/2",
    "1\\2",
    ".",
    "..",
    "x" * 65,
    "1\n2",
    "1\u202e2",
    "1\u200b",
    "u\u0308",
    "1\ud800",
    "日" * 64 + "日",
    "v1.0\ufffd",
    "1.0\ufe0f",
    "1.0\u3164",
    "%2e%2E",
    "1%2F2",
]


def body(**changes):
    hw = {"vendor_id": str(UUID(int=1)), "class_id": str(UUID(int=2)), "name": "n"}
    file = {"path": "a.bin", "size": 1, "sha256": "a" * 64, "role": "image"}
    facts = {"schema": 1, "id": "a", "version": "1.0", "kind": "firmware", "format": "mcuboot", "component": "app"}
    facts |= {"security_counter": 1, "audience": ["lab"], "hw": [hw], "files": [file], **changes}
    return json.dumps(facts).encode()


@regression("C3", "versions as ESP-IDF, git, Debian, Yocto and people write them")
@pytest.mark.parametrize("version", REAL)
def test_any_printable_version_is_taken(version):
    assert parse_manifest(body(version=version)).version == version
    part = {"component": "app", "id": "a", "version": version, "digest": "0" * 64}
    parts = [part, {**part, "component": "model"}]
    text = json.dumps({"parts": parts, "schema": 1, "version": version}, separators=(",", ":"), sort_keys=True)
    assert composite.read_parts(text.encode())[1][0].path == f"app/a/{version}/bundle.json"


@regression("C3", "versions that cannot stand in a signed path, or mislead whoever reads them")
@pytest.mark.parametrize("version", WRONG)
def test_a_version_that_misleads_is_refused(version):
    with pytest.raises(InvalidError, match="version"):
        parse_manifest(body(version=version))


def agreed(format_, version, found, **facts):
    facts = {"security_counter": 1, "version": found, "class_id": None, "vendor_id": None, **facts}
    return agreement.check_agreement(parse_manifest(body(format=format_, version=version)), Judgement(facts, []))


@regression("C3", "versions that an MCUboot header or an app description of ESP-IDF cannot hold")
@pytest.mark.parametrize(
    ("format_", "version", "found"),
    [
        ("mcuboot", "a1b2c3d", "1.2.3+0"),
        ("mcuboot", "1.2.3.4.5", "1.2.3+0"),
        ("mcuboot", "2024.05_1", "1.0.0+0"),
        ("mcuboot", "2024.5.1", "1.0.0+0"),
        ("mcuboot", "v1.2-3-gabc1234-dirty", "1.2.0+3"),
        ("esp", "v1.2-3-gabc1234-dirty-of-a-long-branch", "v1.2-3-gabc1234-dirty-of-a-long"),
        ("esp", "v1.2-3-gabc1234-dirty-of-a-long-branch", "v1.2-3-gabc1234-dirty-of-a-long-"),
    ],
)
def test_what_the_format_holds_is_shown_beside(format_, version, found):
    judged = agreed(format_, version, found)
    assert found in judged.facts["version_note"]
    assert judged.statements[0]["check"] == "version"


@regression("C3", "versions that ESP-IDF cuts off inside a character")
@pytest.mark.parametrize("room", [31, 32])
@pytest.mark.parametrize(
    "version", ["\u7248" * 10 + "\u672c1.0-long", "x" * 29 + "\U0001f680-1", "x" + "\u00fc" * 20, "x" * 30 + "\u00fc-1"]
)
def test_a_version_that_is_cut_inside_a_character_is_noted_as_cut(version, room):
    found = esp.held_text(version.encode()[:room])
    assert version.startswith(found)
    assert f"first {len(found.encode())} bytes" in agreed("esp", version, found).facts["version_note"]


def test_half_a_character_elsewhere_is_no_cut():
    assert esp.held_text(b"1.0\xe7") == "1.0\ufffd"
    with pytest.raises(RefusedBundleError, match="version"):
        agreed("esp", "x" * 40, "x" * 29 + "\ufffd")


@pytest.mark.parametrize(
    ("format_", "version", "found"),
    [
        ("mcuboot", "v1.2", "1.2.0+0"),
        ("mcuboot", "1.2.3+4", "1.2.3+4"),
        ("esp", "x" * 32, "x" * 32),
        ("esp", "v1", "v1"),
    ],
)
def test_a_version_that_the_format_holds_is_compared(format_, version, found):
    assert "version_note" not in agreed(format_, version, found).facts
    for other in ("9.9.9+9", "x" * 30):
        if format_ == "esp" or "." in other:
            with pytest.raises(RefusedBundleError, match="version"):
                agreed(format_, version, other)


@regression("V7", "pairs of versions in the ways that people write them")
@pytest.mark.parametrize(
    ("version", "before", "older"),
    [
        ("1.9", "2.0", True),
        ("2.0", "1.9", False),
        ("v1.9.0", "2.0", True),
        ("1.10", "1.9", False),
        ("1.0.0~rc1", "1.0.0", True),
        ("1.0.0", "1.0.0~rc1", False),
        ("1.0-rc1", "1.0-rc2", True),
        ("1.0-beta", "1.0-rc1", True),
        ("2.0.0-1", "2.0.0", False),
        ("kirkstone-4.0.2", "kirkstone-4.0.10", True),
        ("scarthgap-5.0", "kirkstone-6.0", False),
        ("2024.05_1", "2024.06_1", True),
        ("v1.2-3-gabc1234-dirty", "v1.2-4-gffff123", True),
        ("v1.2-3-g1111111", "v1.2-3-g2222222", False),
        ("1.0.0+1", "1.0.0+2", True),
        ("1.0.0+a", "1.0.0+b", False),
        ("a1b2c3d", "9.0", False),
        ("1.2.3.4.5", "1.2.3.4.6", True),
        ("fw_1.9.0", "fw_2.0.0", True),
        ("R23.4", "r24.1", True),
        ("release 1.9", "release 2.0", True),
        ("my-product-1.9", "my-product-2.0", True),
        ("1.9", "fw-2.0", True),
        ("version 1.9", "v2.0", True),
        ("app-1.9", "fw-2.0", False),
        ("1.0", "1.0.0", False),
        ("1.0.0", "1.0", False),
        ("1.1.1a", "1.1.1", False),
        ("1.1.1a", "1.1.1b", True),
        ("1.1.1", "1.1.1a", True),
        ("1.0a1", "1.0", True),
        ("2.0+b4", "2.0+b5", True),
        ("2.0+dfsg1-1", "2.0+dfsg1-2", True),
        ("30.04.2023", "01.05.2024", True),
        ("01.05.2024", "30.04.2024", False),
        ("9.3", "9.3p1", True),
        ("v1.2.3", "v1.2.3-test", False),
        ("v1.2.3-test", "v1.2.3", False),
    ],
)
def test_which_version_looks_older(version, before, older):
    assert looks_older(version, before) is older
