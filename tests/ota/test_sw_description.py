"""The reader of ``sw-description`` without SWUpdate: what is selected for whom, where it refuses, and hostile texts."""

import gzip
import hashlib
import json
import uuid

import pytest

from ota.errors import RefusedBundleError
from ota.formats import swu
from ota.formats.judgement import ArtefactToVerify, Judgement
from ota.formats.swupdate import revisions
from ota.formats.swupdate.description import read_description
from ota.formats.swupdate.json_form import read_json_description
from ota.formats.swupdate.libconfig import read_libconfig
from ota.manifest import agreement, parse_manifest
from pki.kernel import clock
from tests.factories import descriptions
from tests.factories.artefacts import Makers
from tests.factories.descriptions import BOARDS, ENTRY, HEAD, IMAGES, SECOND, SETS, VARIANTS, software
from tests.peers.swupdate import archive
from tests.regressions import regression


def refuses(text, words):
    with pytest.raises(RefusedBundleError, match=words):
        read_description(text)


@regression("C2", "an image's version before the software's")
def test_the_versions_of_software_and_images_are_told_apart():
    [found] = read_description(VARIANTS["an image's version first"].text)
    assert found.version == "1.0.0"


@regression("C2", "several boards, software sets and links in one description")
def test_every_board_and_software_set_is_shown():
    shown = {str(one.choice): (one.hardware, [entry.filename for entry in one.entries]) for one in boards()}
    assert shown == {"board board": (("1.0",), ["p.bin"]), "board board2": (("2.0", "2.1"), ["q.bin"])}
    assert [str(one.choice) for one in read_description(software(SETS))] == ["stable,main", "stable,alt"]
    linked = software(
        f'images: ( {{ ref = "#./a"; }}, {{ ref = "#./b"; }} ); a: ( {{ {ENTRY} }} ); b: ( {{ {SECOND} }} );'
    )
    assert [entry.filename for entry in read_description(linked)[0].entries] == ["p.bin", "q.bin"]
    above = software(f'board: {{ images: ( {{ ref = "#../a"; }} ); }}; a: ( {{ {ENTRY} }} );')
    assert [entry.filename for entry in read_description(above)[0].entries] == ["p.bin"]


def boards():
    return read_description(software("", BOARDS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"software = {\n version = 1;\n version = 2;\n};", r"^sw-description, line 3: the setting 'version' appears twice"),
        (b'software = {\n a = "x\ny";\n b == 1;', r"line 4: syntax error: a value was expected"),
        (b"software = {\n/* a\n b */ c", r"line 3: syntax error: `=` or `:` was expected after 'c'"),
        (b"\xef\xbb\xbfsoftware = {};", "line 1: it begins with a byte order mark"),
        (b'\n@include "x"\n', "line 2: `@include` reads an unsigned file on the device"),
        (b"x = 1;", "the group `software`"),
        (software(descriptions.entry("compressed = 1;")), "`compressed` must be true, false"),
        (software('images: ( { filename = "a"; type = "raw"; } );'), "'a' has no sha256 of 64 hexadecimal digits"),
        (software(f'images: ( {{ {ENTRY} hook = "f"; }} );'), "`hook` is code"),
        (software('partitions: ( { name = "a"; } );' + IMAGES), "has no name or no device"),
        (software('bootenv: ( { name = ""; } );' + IMAGES), "has no name"),
        (software("".join(f"b{n} = {{ c = {{ }}; }};" for n in range(40))), "more than 1024 combinations"),
        (software(IMAGES, HEAD.replace("[", "[ " + '"x", ' * 200)), "more than 128 entries"),
        (b"{" + b'"a":[' * 50, "not JSON|deeper"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\\u0000"}', "a NUL or a lone surrogate"),
        (b'{"a": "\\ud800"}', "a NUL or a lone surrogate"),
        (b'{"a": 99999999999999999999}', "does not fit 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number that is too long"),
    ],
)  # fmt: skip
def test_a_refusal_says_where_and_why(text, words):
    refuses(text, words)


@regression("C2", "many boards, each with two copies of a software set")
def test_twenty_boards_with_two_copies_each_are_read():
    sets = "stable: {{ a: {{ images: ( {{ {0} }} ); }}; b: {{ images: ( {{ {1} }} ); }}; }};"
    each = 'b{0}: {{ hardware-compatibility: [ "{0}.0" ]; {1} }};'
    inside = "".join(each.format(number, sets.format(ENTRY, SECOND)) for number in range(20))
    found = read_description(f'software = {{ version = "1.0.0"; {inside} }};'.encode())
    assert len(found) == 40
    assert {(one.choice.board, *one.hardware) for one in found} == {(f"b{one}", f"{one}.0") for one in range(20)}


@regression("C2", "texts that are nested, repeated or linked without end")
@pytest.mark.parametrize(
    "text",
    [
        b"a = " + b"{ b = " * 40_000,
        b"a = " + b"(" * 200_000,
        b"[" * 100_000,
        b"{" + b'"a":{' * 40_000,
        b"a = (" + b"1," * 120_000 + b"1);",
        b'a = "' + b"\\x41" * 60_000,
        b"a = " + b'"x" ' * 60_000,
        b"/*" * 100_000,
        b'"' + b"\\" * 200_000,
        b"1" * 200_000,
        b"a" * 200_000,
        b" " * 262_145,
        software("".join(f'l{n}: ( {{ ref = "#./l{n + 1}"; }}, {{ ref = "#./l{n + 1}"; }} );' for n in range(40)) + 'images: ( { ref = "#./l0"; } ); l40: ();'),
        software("".join(f'g{n}: {{ ref = "#./g{n + 1}"; }};' for n in range(12)) + IMAGES),
    ],
)  # fmt: skip
def test_a_hostile_text_is_refused(text):
    with pytest.raises(RefusedBundleError):
        read_description(text)


def test_both_forms_give_the_same_settings():
    libconfig = read_libconfig(b'a = { b = [ 1, 2 ]; c = ( "x", { d = true; } ); e = 1.5; };\n')
    text = read_json_description(b'{"a": {"b": [1, 2], "c": ["x", {"d": true}], "e": 1.5}}')

    def plain(setting):
        if setting.members:
            return {name: plain(one) for name, one in setting.members.items()}
        return [plain(one) for one in setting.elements] or setting.value

    assert plain(libconfig) == plain(text) == {"a": {"b": [1, 2], "c": ["x", {"d": True}], "e": 1.5}}


@regression("C2", "#RE: expressions in hardware-compatibility")
@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^1\\.[0-9]$", ["1.0", "1.9"], ["1.10", "11.0", "1x0", ""]),
        ("1.0", ["1.0", "21005", "1x0"], ["10", "1."]),
        ("^(a|b)+c?$", ["a", "abab", "bc"], ["c", "", "acc"]),
        ("^rev[A-C_]{2,3}$", ["revAB", "revA_C"], ["revA", "revABCA", "revDD"]),
        ("^x{2}$", ["xx"], ["x", "xxx"]),
        ("^a*$", ["", "aaa"], ["b"]),
        ("a|^b$", ["xax", "b"], ["xb", "bb"]),
        ("^[^0-9]+$", ["ab"], ["a1"]),
        ("", ["", "anything"], []),
        ("^(a*)*$", ["", "aaaa"], ["ab"]),
    ],
)  # fmt: skip
def test_revisions_are_compared_as_swupdate_does(pattern, yes, no):
    for text in yes:
        assert revisions.accepts_revision([revisions.PREFIX + pattern], text) is True, text
    for text in no:
        assert revisions.accepts_revision([revisions.PREFIX + pattern], text) is False, text


@pytest.mark.parametrize(
    "pattern", ["[[:digit:]]", "\\d", "(", "a)", "*a", "a{101}", "a{2", "[b-a]", "a**", "((((((((a{50}){50}){50}"]
)
def test_expressions_that_are_not_read_give_no_answer(pattern):
    assert revisions.accepts_revision([revisions.PREFIX + pattern], "x") is None
    assert revisions.accepts_revision([revisions.PREFIX + pattern, "x"], "x") is True


def test_an_expression_that_would_take_for_ever_is_answered():
    assert revisions.accepts_revision([revisions.PREFIX + "^(a|a|aa)*(a|aa)*(a*)*b$"], "a" * 255) is False


def manifest(name, rev):
    """Return what bundle.json says, for one hardware and revision."""
    file = {"path": "a.swu", "size": 1, "sha256": "a" * 64, "role": "image"}
    hw = {"vendor_id": str(uuid.NAMESPACE_DNS), "class_id": str(uuid.NAMESPACE_OID), "name": name}
    body = {"schema": 1, "id": "a", "version": "1.0.0", "kind": "firmware", "format": "swu", "component": "app"}
    body |= {"security_counter": 1, "audience": ["lab"], "hw": [hw | ({"rev": rev} if rev else {})], "files": [file]}
    return parse_manifest(json.dumps(body).encode())


@regression("C2", "a hardware revision of bundle.json that the description does not accept")
@pytest.mark.parametrize(
    ("name", "rev", "fine"),
    [("board", "1.0", True), ("board", "2.0", False), ("board2", "2.1", True), ("other", "2.0", True), ("other", "3.0", False), ("x", "", True)],
)  # fmt: skip
def test_the_revision_of_the_manifest_is_one_that_the_board_accepts(name, rev, fine):
    selections = [swu._fact(one) for one in boards()]
    found = Judgement({"version": "1.0.0", "hardware": [], "selections": selections}, [])
    if fine:
        assert agreement.check_agreement(manifest(name, rev), found) is found
    else:
        with pytest.raises(RefusedBundleError, match=rf"bundle\.json says {rev}"):
            agreement.check_agreement(manifest(name, rev), found)


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return Makers(tmp_path_factory.mktemp("swu"))


def judge(makers, folder, text, members):
    image = folder / "image"
    image.write_bytes(archive([("sw-description", text), ("sw-description.sig", makers.cms(text)), *members.items()]))
    return swu.judge(ArtefactToVerify("swu", image, None, makers.anchors("swu"), clock.unix(), folder))


def described(data, change, kind="rawfile"):
    return software(descriptions.entry(change, sha256=hashlib.sha256(data).hexdigest()).replace("rawfile", kind))


@regression("V4", "compressed members of an archive, by every handler that unpacks")
def test_members_are_measured_as_the_device_unpacks_them(makers, tmp_path):
    zeros = descriptions.zstandard.ZstdCompressor(1).compress(bytes(300 << 20))
    found = judge(makers, tmp_path, described(zeros, 'compressed = "zstd";'), {"p.bin": zeros})
    assert found.facts["sizes"] == {"p.bin": 300 << 20}
    two = zeros * 2
    with pytest.raises(RefusedBundleError, match=r"'p\.bin' unpacks to more than the 512 MiB"):
        judge(makers, tmp_path, described(two, 'compressed = "zstd";'), {"p.bin": two})
    for kind in ("archive", "tar"):
        with pytest.raises(RefusedBundleError, match="not a tar or cpio archive"):
            judge(makers, tmp_path, described(b"PK\3\4", "", kind), {"p.bin": b"PK\3\4"})


def test_a_declared_size_is_compared_and_needed_where_nothing_can_be_measured(makers, tmp_path):
    data = gzip.compress(bytes(5000))
    said = 'compressed = "zlib"; properties = { decompressed-size = "%s"; };'
    assert judge(makers, tmp_path, described(data, said % "5000"), {"p.bin": data}).facts["flash"] == 5000
    with pytest.raises(RefusedBundleError, match="unpacks to 5000 bytes, and its decompressed-size says 5001"):
        judge(makers, tmp_path, described(data, said % "5001"), {"p.bin": data})
    hidden = b"encrypted"
    assert judge(makers, tmp_path, described(hidden, "encrypted = true;"), {"p.bin": hidden}).facts["flash"] == 9
    with pytest.raises(RefusedBundleError, match="is encrypted and compressed"):
        judge(makers, tmp_path, described(hidden, 'encrypted = true; compressed = "zlib";'), {"p.bin": hidden})
    told = described(hidden, "encrypted = true;" + said % "7000")
    assert judge(makers, tmp_path, told, {"p.bin": hidden}).facts["flash"] == 7000
    huge = described(hidden, "encrypted = true;" + said % (1 << 40))
    with pytest.raises(RefusedBundleError, match="512 MiB"):
        judge(makers, tmp_path, huge, {"p.bin": hidden})


def test_the_report_shows_what_each_board_installs(makers, tmp_path):
    found = judge(makers, tmp_path, software("", BOARDS), descriptions.BOTH)
    lines = [one["outcome"] for one in found.statements if one["check"] == "selection"]
    assert lines == [
        "board board, revisions 1.0: p.bin (images, rawfile)",
        "board board2, revisions 2.0, 2.1: q.bin (images, rawfile)",
    ]
