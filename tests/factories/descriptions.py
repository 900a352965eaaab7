"""Ways to write a ``sw-description``, with what SWUpdate and we make of each: for the tests beside ``swupdate -c``."""

import gzip
import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass, field

import zstandard

PAYLOAD = b"payload of a device\n" * 8
NOISE = random.Random(4).randbytes(40_000)
OTHER = b"another payload\n" * 9
DIGEST, OTHER_DIGEST = (hashlib.sha256(data).hexdigest() for data in (PAYLOAD, OTHER))
ENTRY = f'filename = "p.bin"; type = "rawfile"; path = "/data/x"; sha256 = "{DIGEST}";'
SECOND = f'filename = "q.bin"; type = "rawfile"; path = "/data/y"; sha256 = "{OTHER_DIGEST}";'
IMAGES = f"images: ( {{ {ENTRY} }} );"
HEAD = 'version = "1.0.0"; hardware-compatibility: [ "1.0" ];'
NEWC, CRC = b"070701", b"070702"


@dataclass(frozen=True)
class Variant:
    """One description.

    Args:
        text: of ``sw-description``.
        members: of the archive, behind description and signature.
        tool: whether ``swupdate -c`` accepts it on the board ``board`` of revision 1.0.
        policy: words of our refusal where ours differs, or ``accepted`` where we accept what this build does not.
        magic: kind of cpio.
        arguments: further ones of ``swupdate``.
    """

    text: bytes
    tool: bool = True
    policy: str = ""
    members: dict = field(default_factory=lambda: {"p.bin": PAYLOAD})
    magic: bytes = CRC
    arguments: tuple = ()

    @property
    def accepted(self):
        """Say whether we accept it."""
        return self.policy == "accepted" or (self.tool and not self.policy)


def software(inside, head=HEAD):
    """Return a description in libconfig."""
    return f"software = {{ {head} {inside} }};\n".encode()


def entry(change="", **fields):
    """Return a section of one image."""
    inside = ENTRY
    for name, value in fields.items():
        inside = inside.replace({"sha256": DIGEST, "filename": "p.bin"}[name], value)
    return f"images: ( {{ {inside} {change} }} );"


def tree(**changes):
    """Return a description in JSON."""
    image = {"filename": "p.bin", "type": "rawfile", "path": "/data/x", "sha256": DIGEST, **changes.pop("image", {})}
    inside = {"version": "1.0.0", "hardware-compatibility": ["1.0"], "images": [image], **changes}
    return json.dumps({"software": inside}).encode()


def named(name):
    """Return a variant with a member of some name."""
    return Variant(software(entry(filename=name)), members={name: PAYLOAD})


def packed(data, change, tool=True, policy=""):  # noqa: FBT002  because it stands in a table
    """Return a variant whose member is compressed."""
    return Variant(software(entry(change, sha256=hashlib.sha256(data).hexdigest())), tool, policy, {"p.bin": data})


def tarball():
    """Return a small tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        member = tarfile.TarInfo("x")
        member.size = len(PAYLOAD)
        made.addfile(member, io.BytesIO(PAYLOAD))
    return out.getvalue()


BOTH = {"p.bin": PAYLOAD, "q.bin": OTHER}
BOARDS = (
    f'version = "1.0.0"; board: {{ hardware-compatibility: [ "1.0" ]; {IMAGES} }};'
    f'board2: {{ hardware-compatibility: [ "2.0", "2.1" ]; images: ( {{ {SECOND} }} ); }};'
)
SETS = f"stable: {{ main: {{ {IMAGES} }}; alt: {{ images: ( {{ {SECOND} }} ); }}; }};"
MULTILINE = f"""software =
{{
    version = "1.0.0";
    description = "test image";
    hardware-compatibility: [ "1.0" ];
    files: (
        {{ filename = "p.bin"; path = "/data/x"; type = "rawfile"; sha256 = "{DIGEST}"; }}
    );
}}
""".encode()

#: how a text may be written: what libconfig and JSON allow
SYNTAX = {
    "several lines": Variant(MULTILINE),
    "one line": Variant(software(IMAGES)),
    "carriage returns": Variant(MULTILINE.replace(b"\n", b"\r\n")),
    "tabs and form feeds": Variant(MULTILINE.replace(b"    ", b"\t\f")),
    "no terminators": Variant(software(IMAGES).replace(b";", b" ")),
    "commas as terminators": Variant(software(IMAGES).replace(b";", b",").replace(b"},\n", b"}\n")),
    "colons for equals": Variant(software(IMAGES).replace(b"=", b":")),
    "comments of three kinds": Variant(b"# a\n// b\n/* c\n { */" + MULTILINE.replace(b";", b"; // ; }\n")),
    "a comment in another encoding": Variant(b"# \xfcber\n" + MULTILINE),
    "a comment without end of line": Variant(software(IMAGES).strip() + b" # end", tool=False),
    "an unclosed comment": Variant(software(IMAGES) + b"/* end", policy="comment is not closed"),
    "an unclosed string": Variant(software(IMAGES).replace(b'"p.bin"', b'"p.bin'), tool=False),
    "an unclosed string at the end": Variant(software(IMAGES) + b'"end', policy="string is not closed"),
    "slashes and braces in strings": Variant(software('description = "a // b { c } # d /* e */";' + IMAGES)),
    "escapes in strings": Variant(software('description = "a \\"b\\" \\\\ \\x41 \\n";' + entry()).replace(b"p.bin", b"\\x70.bin")),
    "escapes that libconfig keeps": Variant(software('description = "\\q \\/ \\x4";' + IMAGES)),
    "a newline in a string": Variant(software('description = "a\nb";' + IMAGES)),
    "adjacent strings": Variant(software(IMAGES).replace(b'"p.bin"', b'"p" /* and */ ".bin"')),
    "a string that is not UTF-8": Variant(software(IMAGES).replace(b"/data/x", b"/data/\xfc"), policy="not UTF-8"),
    "a byte order mark": Variant(b"\xef\xbb\xbf" + MULTILINE, tool=False),
    "a NUL": Variant(MULTILINE + b"\0 more", tool=False),
    "an include": Variant(b'@include "/dev/null"\n' + MULTILINE, policy="@include"),
    "a setting twice": Variant(software('version = "2.0.0";' + IMAGES), tool=False),
    "a trailing comma": Variant(software(IMAGES.replace("} )", "}, )")), tool=False),
    "two terminators": Variant(software(IMAGES.replace(";", ";;", 1)), tool=False),
    "a name with an underscore first": Variant(software("_x = 1;" + IMAGES), tool=False),
    "names with stars and hyphens": Variant(software("*a = 1; b-c* = 2;" + IMAGES)),
    "numbers of all kinds": Variant(software("a = 1; b = -0x1; c = 5L; d = 0xFFFFFFFFFL; e = 1.5e3;".replace("-0x1", "0x1") + IMAGES)),
    "a number with a leading zero": Variant(software("a = 010;" + IMAGES), policy="octal"),
    "a number that wraps around": Variant(software("a = 4294967297;" + IMAGES), policy="does not fit 32 bits"),
    "a mixed array": Variant(software('a = [ 1, "x" ];' + IMAGES), tool=False),
    "nested groups": Variant(software("a = " + "{ b = " * 20 + "1" + " }" * 20 + ";" + IMAGES)),
    "nested too deeply": Variant(software("a = " + "{ b = " * 40 + "1" + " }" * 40 + ";" + IMAGES), policy="deeper than 32"),
    "nothing": Variant(b"", tool=False),
    "other words": Variant(b"hello", tool=False),
    "JSON": Variant(tree()),
    "JSON over lines": Variant(json.dumps(json.loads(tree()), indent=2).encode()),
    "JSON with a name twice": Variant(tree().replace(b'"version": "1.0.0"', b'"version": "9", "version": "1.0.0"'), policy="twice"),
    "JSON with text behind": Variant(tree() + b" garbage", policy="not JSON"),
    "JSON with comments": Variant(b"{ /* a */" + tree()[1:], policy="not JSON"),
    "JSON with single quotes": Variant(tree().replace(b'"/data/x"', b"'/data/x'"), policy="not JSON"),
    "JSON cut off": Variant(tree()[:-2], tool=False),
}  # fmt: skip

#: what is said: sections, fields, selection
MEANING = {
    "an image's version first": Variant(
        ('software = { hardware-compatibility: [ "1.0" ]; ' + entry('name = "r"; version = "8.8.8";') + ' version = "1.0.0"; }\n').encode()
    ),
    "no version": Variant(software(IMAGES, 'hardware-compatibility: [ "1.0" ];'), tool=False),
    "only an image's version": Variant(software(entry('version = "1";'), 'hardware-compatibility: [ "1.0" ];'), tool=False),
    "a version that is a number": Variant(software(IMAGES, HEAD.replace('"1.0.0"', "1")), policy="`version` is not a string"),
    "an empty version": Variant(software(IMAGES, HEAD.replace("1.0.0", "")), policy="1 to 64 printable"),
    "a very long version": Variant(software(IMAGES, HEAD.replace("1.0.0", "1" * 300)), policy="255"),
    "properties": Variant(software(entry('properties = { a = "b"; c = [ "d", "e" ]; };'))),
    "a revision as expression": Variant(software(IMAGES, HEAD.replace('"1.0"', '"#RE:^1\\\\.[0-9]$"'))),
    "revisions in a list": Variant(software(IMAGES, HEAD.replace('[ "1.0" ]', '( "0.9", "1.0" )'))),
    "another revision": Variant(software(IMAGES, HEAD.replace('"1.0"', '"3.0"')), tool=False, policy="accepted"),
    "no hardware-compatibility": Variant(software(IMAGES, 'version = "1.0.0";'), tool=False),
    "a revision that is no list": Variant(software(IMAGES, HEAD.replace('[ "1.0" ]', '"1.0"')), tool=False),
    "an empty list of revisions": Variant(software(IMAGES, HEAD.replace('"1.0"', "")), tool=False),
    "two boards": Variant(software("", BOARDS), members=BOTH),
    "a board that is not in it": Variant(software("", BOARDS.replace("board:", "board3:")), False, "accepted", BOTH),
    "boards with different versions": Variant(software(IMAGES + f'board: {{ version = "2.0"; {IMAGES} }};'), policy="different versions"),
    "a board's version where nothing else is installed": Variant(software(f'board: {{ version = "2.0"; {IMAGES} }};')),
    "a board's own version alone": Variant(software("", f'board: {{ version = "1.0.0"; hardware-compatibility = ["1.0"]; {IMAGES} }};')),
    "JSON with boards": Variant(tree(board={"images": [{"filename": "q.bin", "type": "raw", "device": "/dev/null", "sha256": OTHER_DIGEST}]}), members=BOTH),
    "software sets": Variant(software(SETS), members=BOTH, arguments=("-e", "stable,alt")),
    "software sets of a board": Variant(software(f"board: {{ {SETS} }};"), members=BOTH, arguments=("-e", "stable,main")),
    "a link to a list": Variant(software(f'images: ( {{ ref = "#./common"; }} ); common: ( {{ {ENTRY} }} );')),
    "a link from the top": Variant(software(f'images: ( {{ ref = "#software/common"; }} ); common: ( {{ {ENTRY} }} );')),
    "a board that is a link": Variant(software(f'board: {{ ref = "#./board2"; }}; board2: {{ {IMAGES} }};')),
    "a link that leads nowhere": Variant(software(f'images: ( {{ ref = "#./nope"; }} ); files: ( {{ {ENTRY} }} );'), policy="leads nowhere"),
    "a link in a circle": Variant(software('images: ( { ref = "#./images"; } );'), tool=False),
    "a link of another form": Variant(software(f'images: ( {{ ref = "common"; }} ); files: ( {{ {ENTRY} }} );'), tool=False),
    "a section that is a group": Variant(software(f"images: {{ a: {{ {ENTRY} }}; }};"), policy="is not a list"),
    "an entry that is a text": Variant(software(f'images: ( "a", {{ {ENTRY} }} );'), policy="something other than groups"),
    "an entry without a file name": Variant(software(f'images: ( {{ type = "raw"; }}, {{ {ENTRY} }} );'), policy="has no filename"),
    "an entry without a handler": Variant(software(entry().replace('type = "rawfile";', "")), tool=False),
    "a file without a type": Variant(software(entry().replace('type = "rawfile";', "").replace("images", "files"))),
    "a handler that this build lacks": Variant(software(entry().replace("rawfile", "special")), tool=False, policy="accepted"),
    "a script": Variant(software(entry().replace("images", "scripts").replace("rawfile", "shellscript"))),
    "images and files": Variant(software(IMAGES + f"files: ( {{ {SECOND} }} );"), members=BOTH),
    "images and scripts": Variant(software(IMAGES + f"scripts: ( {{ {SECOND.replace('rawfile', 'shellscript')} }} );"), members=BOTH),
    "one member as image and as script": Variant(
        software(IMAGES + f"scripts: ( {{ {ENTRY.replace('rawfile', 'shellscript')} }} );"), tool=False),
    "boot loader variables": Variant(software('bootenv: ( { name = "a"; value = "b"; } );' + IMAGES)),
    "boot loader variables alone": Variant(software('bootenv: ( { name = "a"; value = "b"; } );'), members={}),
    "uboot and bootenv": Variant(software('bootenv: ( { name = "a"; value = "b"; } ); uboot: ( { name = "c"; } );' + IMAGES), policy="both"),
    "variables": Variant(software('vars: ( { name = "a"; value = "b"; } );' + IMAGES)),
    "partitions": Variant(software('partitions: ( { name = "a"; device = "mtd3"; size = 1048576; } );' + IMAGES)),
    "an embedded script": Variant(software('embedded-script = "function f(i) return true, i end";' + IMAGES), policy="embedded-script"),
    "a digest in upper case": Variant(software(entry(sha256=DIGEST.upper()))),
    "no digest": Variant(software(IMAGES.replace(f'sha256 = "{DIGEST}";', "")), tool=False),
    "a digest of another file": Variant(software(entry(sha256="a" * 64)), tool=False),
    "a digest of zeros": Variant(software(entry(sha256="0" * 64)), tool=False),
    "a short digest": Variant(software(entry(sha256=DIGEST[:40])), tool=False),
    "a digest with other signs": Variant(software(entry(sha256="g" + DIGEST[1:])), tool=False),
    "one member used twice": Variant(software(f"images: ( {{ {ENTRY} }}, {{ {ENTRY.replace('/x', '/z')} }} );")),
    "one member with two digests": Variant(software(f"images: ( {{ {ENTRY} }}, {{ {ENTRY.replace(DIGEST, 'a' * 64)} }} );"), tool=False),
    "a member that nobody lists": Variant(software(IMAGES), policy="not listed", members=BOTH),
    "a member that is missing": Variant(software(IMAGES), tool=False, members={}),
    "a member of another board that is missing": Variant(software("", BOARDS), policy="does not contain it"),
    "compressed, a number": Variant(software(entry("compressed = 1;")), tool=False),
    "compressed, another word": Variant(software(entry('compressed = "lzma";')), tool=False),
    "compressed, and is not": Variant(software(entry('compressed = "zlib";')), tool=False),
    "compressed with gzip": packed(gzip.compress(PAYLOAD), 'compressed = "zlib";'),
    "compressed, true": packed(gzip.compress(PAYLOAD), "compressed = true;"),
    "compressed with zstd": packed(zstandard.compress(PAYLOAD), 'compressed = "zstd";'),
    "compressed, false": Variant(software(entry("compressed = false;"))),
    "two gzip members": packed(gzip.compress(PAYLOAD) * 2, 'compressed = "zlib";', policy="other bytes follow"),
    "two long gzip members": packed(gzip.compress(NOISE) * 2, 'compressed = "zlib";', tool=False),
    "gzip with zeros behind": packed(gzip.compress(NOISE) + bytes(40_000), 'compressed = "zlib";', tool=False),
    "gzip cut off": packed(gzip.compress(PAYLOAD)[:-4], 'compressed = "zlib";', policy="truncated"),
    "gzip with a wrong checksum": packed(gzip.compress(PAYLOAD)[:-8] + bytes(8), 'compressed = "zlib";', tool=False),
    "two frames of zstd": packed(zstandard.compress(NOISE) * 2, 'compressed = "zstd";'),
    "zstd cut off": packed(zstandard.compress(NOISE)[:-4], 'compressed = "zstd";'),
    "zstd with a skippable frame first": packed(b"\x50\x2a\x4d\x18\4\0\0\0abcd" + zstandard.compress(PAYLOAD), 'compressed = "zstd";'),
    "an empty member": packed(b"", ""),
    "an empty compressed member": packed(b"", 'compressed = "zlib";', policy="truncated"),
    "a raw image that is gzip": packed(gzip.compress(PAYLOAD), ""),
    "an archive, uncompressed, by its other name": Variant(
        software(entry(sha256=hashlib.sha256(tarball()).hexdigest()).replace("rawfile", "tar")), members={"p.bin": tarball()}),
    "zstd called zlib": packed(zstandard.compress(PAYLOAD), 'compressed = "zlib";', tool=False),
    "an encrypted flag that is a text": Variant(software(entry('encrypted = "yes";')), policy="neither true nor false"),
    "an offset": Variant(software(entry('offset = "1M";'))),
    "an offset that is a number": Variant(software(entry("offset = 4096;"))),
    "an offset that is none": Variant(software(entry('offset = "zz";')), tool=False),
    "an archive": Variant(
        software(entry(sha256=hashlib.sha256(gzip.compress(tarball(), mtime=0)).hexdigest()).replace("rawfile", "archive")),
        members={"p.bin": gzip.compress(tarball(), mtime=0)}),
    "newc": Variant(software(IMAGES), magic=NEWC),
    "settings that SWUpdate does not know": Variant(software('x = { y = "z"; };' + entry("sha512 = 1;"))),
    "a description with signs of other scripts": Variant(software('description = "Größe 版本 🙂";' + IMAGES)),
    "a version with spaces in it": Variant(software(IMAGES, HEAD.replace("1.0.0", "rel 1.0 beta"))),
    "a version with spaces around": Variant(software(IMAGES, HEAD.replace("1.0.0", " 1.0 ")), policy="1 to 64 printable"),
    "a version with other signs": Variant(software(IMAGES, HEAD.replace("1.0.0", "v1.2-3-gabc1234-dirty+~_"))),
    "revisions that are numbers": Variant(software(IMAGES, HEAD.replace('"1.0"', "1")), tool=False),
    "an image for a volume": Variant(software(entry().replace('type = "rawfile";', 'volume = "rootfs";'))),
    "an image for a device": Variant(software(entry().replace('type = "rawfile";', 'device = "/dev/null";'))),
    "JSON with numbers and null": Variant(tree(a=1.5, b=None, c=-7, d=[1, {"e": True}], image={"compressed": False, "offset": "1M"})),
    "JSON with a byte order mark": Variant(b"\xef\xbb\xbf" + tree(), tool=False),
    "JSON with an escape": Variant(tree().replace(b"p.bin", b"\\u0070.bin")),
    "JSON with a section that is an object": Variant(tree(images={"filename": "p.bin"}), tool=False),
    "JSON with half a character": Variant(tree(description="\ud800"), policy="a lone surrogate"),
    "JSON with compressed as a text": Variant(tree(image={"compressed": "true"}), tool=False),
    "JSON with compressed as a number": Variant(tree(image={"compressed": 0}), policy="must be true, false"),
    "UTF-16": Variant(MULTILINE.decode().encode("utf-16"), tool=False),
    "a link with other settings": Variant(software(f'images: ( {{ ref = "#./common"; filename = "z"; }} ); common: ( {{ {ENTRY} }} );')),
    "links one after the other": Variant(software(f'images: ( {{ ref = "#./a"; }} ); a: ( {{ ref = "#./b"; }} ); b: ( {{ {ENTRY} }} );')),
    "a link to the parent's list": Variant(software(f'board: {{ images: ( {{ ref = "#../common"; }} ); }}; common: ( {{ {ENTRY} }} );')),
    "a link of a set to a list": Variant(
        software(f'stable: {{ main: {{ images: ( {{ ref = "#./common"; }} ); common: ( {{ {ENTRY} }} ); }}; }};'),
        arguments=("-e", "stable,main")),
    "a link of a set to another": Variant(
        software(f'stable: {{ main: {{ ref = "#./alt"; }}; alt: {{ {IMAGES} }}; }};'), arguments=("-e", "stable,main")),
    "a set of a board beside a set for all": Variant(
        software(f"{SETS} board: {{ stable: {{ main: {{ images: ( {{ {SECOND} }} ); }}; }}; }};"), members=BOTH,
        arguments=("-e", "stable,main")),
    "a set that is not asked for": Variant(software(SETS + IMAGES), members=BOTH),
    "a set that is missing": Variant(software(SETS + IMAGES), members=BOTH, arguments=("-e", "other,main")),
    "scripts of a board, images for all": Variant(
        software(f"{IMAGES} board: {{ scripts: ( {{ {SECOND.replace('rawfile', 'shellscript')} }} ); }};"), members=BOTH),
    "empty images of a board": Variant(software(f"{IMAGES} board: {{ images: ( ); }};"), tool=False, policy="accepted"),
    "a boot script": Variant(software(f'{IMAGES} bootenv: ( {{ {SECOND.replace("rawfile", "bootloader")} }} );'), members=BOTH),
    "a variable without a name": Variant(software('vars: ( { value = "b"; } );' + IMAGES), policy="has no name"),
    "a partition without a device": Variant(software('partitions: ( { name = "a"; } );' + IMAGES), policy="no name or no device"),
    "a hook without an embedded script": Variant(software(entry('hook = "f";')), policy="hook"),
    "properties that are no group": Variant(software(entry("properties = 5;")), policy="not a group"),
    "installed directly": Variant(software(entry("installed-directly = true;"))),
    "reboot as a text": Variant(software('reboot = "no";' + IMAGES), policy="`reboot` is not a bool"),
    "a very long name": Variant(software(entry('name = "' + "n" * 300 + '";')), policy="255"),
}  # fmt: skip
NAMES = {
    f"the name {name!r}": named(name)
    for name in ("a+b~1@x:y.bin", "a b.bin", "_a.bin", "-a", "ü.bin", "a%20b", "(1).bin", "#x", ".x")
}
NAMES |= {
    "a name with a slash": Variant(software(entry(filename="a/b")), members={"a/b": PAYLOAD}, tool=False),
    "a name that climbs": Variant(software(entry(filename="../b")), policy="refused", members={"../b": PAYLOAD}),
}
#: what swupdate accepts and reads as something else than it looks like, or not at all
LENIENT = {
    "JSON with a comma too many": Variant(tree().replace(b"]}}", b",]}}"), policy="not JSON"),
    "JSON with NaN": Variant(tree(a=float("nan")), policy="NaN is not JSON"),
    "JSON with infinity": Variant(tree(a=float("-inf")), policy="-Infinity is not JSON"),
    "JSON with a number beyond 64 bits": Variant(tree(a=2**70), policy="does not fit 64 bits"),
    "JSON with true or false as a text": Variant(tree(image={"installed-directly": "true"}), policy="neither true nor false"),
    "a bootloader variable that is a number": Variant(
        software(f'bootenv: ( {{ name = "a"; value = 5; }} ); {IMAGES}'), policy="`value` is not a string"
    ),
    "a variable that is a number": Variant(
        software(f'vars: ( {{ name = "a"; value = 5; }} ); {IMAGES}'), policy="`value` is not a string"
    ),
    "a partition's size as a text": Variant(
        software(f'partitions: ( {{ name = "a"; device = "mtd3"; size = "1M"; }} ); {IMAGES}'), policy="`size` of a partition"
    ),
    "a revision that is a number": Variant(
        software(IMAGES, 'version = "1.0.0"; hardware-compatibility: ( "1.0", 2 );'), policy="`hardware-compatibility` is not a string"
    ),
    "a version with a line break": Variant(
        software(IMAGES, 'version = "1.0\\n"; hardware-compatibility: [ "1.0" ];'), policy="printable characters"
    ),
    **{
        name: Variant(software(entry(f'offset = "{text}";')), policy="`offset` is not a number")
        for name, text in {
            "an offset with a small k": "4k",
            "an offset with a space": "4 K",
            "a negative offset": "-1",
            "an empty offset": "",
        }.items()
    },
    "a negative offset that is a number": Variant(software(entry("offset = -1;")), policy="`offset` is not a number"),
    "properties that are a list": Variant(software(entry('properties: ( { a = "b"; } );')), policy="`properties` is not a group"),
}  # fmt: skip
VARIANTS = {**SYNTAX, **MEANING, **NAMES, **LENIENT}
