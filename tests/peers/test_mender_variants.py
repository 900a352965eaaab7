"""Mender artifacts in many forms, judged beside ``mender-artifact validate``.

What it accepts we do, but for the policies that are named; ``docs/reference/formats.md`` states each of them.
"""

import base64
import gzip
import hashlib
import io
import json
import lzma
import subprocess
import tarfile

import pytest
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from ota.errors import RefusedBundleError
from ota.formats import mender
from ota.formats.judgement import ArtefactToVerify
from pki.kernel import clock
from tests.factories.artefacts import Makers, noise, public, tar, untar
from tests.peers.programs import require
from tests.regressions import regression

pytestmark = pytest.mark.peer

PACKED = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


#: the longest name that mender-artifact writes
LONG = "n" * 240 + ".bin"
#: meta-data, which only the update module on a device reads
META = {
    "meta-large-number": b'{"a": 18446744073709551616}',
    "meta-deep": b'{"a":' * 100 + b"1" + b"}" * 100,
    "meta-too-deep": b'{"a":' * 101 + b"1" + b"}" * 101,
    "meta-nul": b'{"a": "x\\u0000y"}',
    "meta-half": b'{"a": "\\ud800"}',
    "meta-1.5-mb": b'{"a": "' + b"x" * 1_500_000 + b'"}',
    "meta-5-mb": b'{"a": "' + b"x" * 5_000_000 + b'"}',
}


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    made = Makers(tmp_path_factory.mktemp("mender"))
    (made.folder / "key.pub").write_text(public(made.key))
    files = {
        "fw.bin": noise(4000, 1), "two.bin": noise(900, 2), "rootfs.ext4": noise(8000, 3), "empty.bin": b"",
        "meta.json": b'{"a": {"b": [1, 2.5, null]}}', "ArtifactInstall_Enter_00": b"#!/bin/sh\n", "ArtifactCommit_Leave_99_x": b"#!/bin/sh\n",
    }  # fmt: skip
    files |= {f"f{number}.bin": b"%d" % number for number in range(1001)}
    files |= {LONG: b"x", **{f"{name}.json": data for name, data in META.items()}}
    for name, data in files.items():
        (made.folder / name).write_bytes(data)
    return made


def written(makers, words, name="rel-2.3.4"):
    """Return the artifact that ``mender-artifact write`` makes."""
    out = makers.place(".mender")
    kind, *options = words.split()
    command = [
        require("mender-artifact"),
        "write",
        kind,
        "-n",
        name,
        "-t",
        "node",
        "-o",
        out,
        "-k",
        "sec1.pem",
        *options,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=makers.folder)
    return out.read_bytes()


def tool_accepts(makers, artifact):
    path = makers.place(".mender")
    path.write_bytes(artifact)
    command = [require("mender-artifact"), "validate", "-k", makers.folder / "key.pub", path]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def judged(makers, artifact):
    path, scratch = makers.place(".mender"), makers.place("")
    path.write_bytes(artifact)
    scratch.mkdir()
    return mender.judge(ArtefactToVerify("mender", path, None, makers.anchors("mender"), clock.unix(), scratch)).facts


def refused(makers, artifact):
    """Return why we refuse an artifact; empty when we accept it."""
    try:
        judged(makers, artifact)
    except RefusedBundleError as error:
        return error.detail
    return ""


MODULE, ROOTFS = "module-image -T single-file -f fw.bin", "rootfs-image -f rootfs.ext4"
ACCEPTED = {
    "module": MODULE,
    "module, not compressed": f"{MODULE} --compression none",
    "module, lzma": f"{MODULE} --compression lzma",
    "root file system": ROOTFS,
    "root file system, not compressed": f"{ROOTFS} --compression none",
    "root file system, lzma": f"{ROOTFS} --compression lzma",
    "two files": f"{MODULE} -f two.bin",
    "no file": "module-image -T docker -m meta.json",
    "an empty file": "module-image -T single-file -f empty.bin",
    "meta-data": f"{MODULE} -m meta.json",
    "state scripts": f"{MODULE} -s ArtifactInstall_Enter_00 -s ArtifactCommit_Leave_99_x",
    "state scripts of a root file system": f"{ROOTFS} -s ArtifactInstall_Enter_00 --compression none",
    "provides and depends": f"{MODULE} -p a:b -p c:d -d e:f",
    "groups": f"{MODULE} -g canary -G canary -G lab",
    "depends on artifacts": f"{MODULE} -N rel-2.3.3 -N rel-2.3.2",
    "several device types": f"{MODULE} -t other -t third",
    "clears provides": f"{MODULE} --clears-provides data-partition.*",
    "no default provides": f"{MODULE} --no-default-clears-provides --no-default-software-version",
    "a software version": f"{MODULE} --software-version 2.3.4 --software-name app --software-filesystem data",
    "the old name of the checksum": f"{ROOTFS} --legacy-rootfs-image-checksum",
    "no checksum": f"{ROOTFS} --no-checksum-provide",
    "an update module of an odd name": "module-image -T my.module_1-x -f fw.bin",
    "bootstrap": "bootstrap-artifact",
    "300 files": f"module-image -T many {' '.join(f'-f f{number}.bin' for number in range(300))}",
    "a name of 244 characters": f"module-image -T single-file -f {LONG}",
    "150 provides": f"{MODULE} {' '.join(f'-p key{number}:value' for number in range(150))}",
    **{name: f"{MODULE} -m {name}.json" for name in META if name not in {"meta-too-deep", "meta-5-mb"}},
}
POLICIES = {
    "an augmented header": (f"{MODULE} --augment-type single-file --augment-file two.bin", "no signature covers"),
    "augmented meta-data": (
        f"{MODULE} --augment-type single-file --augment-meta-data meta.json",
        "no signature covers",
    ),
    "meta-data 101 deep": (
        f"{MODULE} -m meta-too-deep.json",
        "meta-data that is not acceptable JSON: The document is nested",
    ),
    "5 MB of meta-data": (f"{MODULE} -m meta-5-mb.json", "meta-data of more than 4194304 bytes"),
    "1001 files": (
        f"module-image -T many {' '.join(f'-f f{number}.bin' for number in range(1001))}",
        "The payload holds more than 1000 files",
    ),
    "1001 provides": (
        f"{MODULE} {' '.join(f'-p key{number}:v' for number in range(1001))}",
        "provides or depends entries; the limit is 1000",
    ),
    "version 2": (f"{ROOTFS} -v 2", "Only Mender artifacts of version 3"),
}


@pytest.mark.parametrize("name", ACCEPTED)
@regression("C5", "Mender artifacts in 31 forms: compressions, scripts, meta-data, many files, provides and depends")
def test_what_mender_artifact_writes_is_accepted(makers, name):
    artifact = written(makers, ACCEPTED[name])
    assert tool_accepts(makers, artifact)
    assert refused(makers, artifact) == ""


@pytest.mark.parametrize("name", POLICIES)
@regression("V6", "Mender artifacts that mender-artifact accepts and a policy refuses, each with its own reason")
def test_what_a_policy_refuses_is_refused_with_its_reason(makers, name):
    words, reason = POLICIES[name]
    artifact = written(makers, words)
    assert tool_accepts(makers, artifact)
    assert reason in refused(makers, artifact)


INFO = {
    "payloads": [{"type": "single-file"}],
    "artifact_provides": {"artifact_name": "rel-2.3.4"},
    "artifact_depends": {"device_type": ["node"]},
}
HEADER = {"header-info": json.dumps(INFO).encode(), "headers/0000/type-info": b'{"type": "single-file"}'}
VERSION = b'{"format": "mender", "version": 3}'


def made(
    makers, header=None, payload=None, packed=(".gz", ".gz"), named=None, version=VERSION, listing=None, further=()
):
    """Return an artifact of our own tar writer, signed over whatever it lists."""
    payload = payload or {"fw.bin": noise(700, 4)}
    inner = PACKED[packed[0]](tar(list((header or HEADER).items())))
    names = named or [f"header.tar{packed[0]}", f"data/0000.tar{packed[1]}"]
    data = PACKED[packed[1]](tar(list(payload.items())))
    rows = {"version": version, names[0]: inner, **{f"data/0000/{name}": one for name, one in payload.items()}}
    text = "".join(f"{hashlib.sha256(one).hexdigest()}  {name}\n" for name, one in rows.items()).encode()
    text = listing(text) if listing else text
    r, s = utils.decode_dss_signature(makers.key.sign(text, ec.ECDSA(hashes.SHA256())))
    signature = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    members = [
        ("version", version),
        ("manifest", text),
        ("manifest.sig", signature),
        (names[0], inner),
        (names[1], data),
    ]
    return tar([*members, *further])


def info(**changes):
    return {**HEADER, "header-info": json.dumps({**INFO, **changes}).encode()}


def kind(text):
    return {**HEADER, "headers/0000/type-info": text}


def meta(data):
    return {**HEADER, "headers/0000/meta-data": data}


def without(*names):
    return {name: data for name, data in HEADER.items() if name not in names}


def lines(change):
    return lambda text: b"".join(change(text.splitlines(keepends=True)))


def pax(makers):
    """Return an artifact whose members have extended headers (POSIX tar)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as archive:
        for name, data in untar(made(makers)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


#: artifacts of our own writer; both have to say the same
SAME = {
    "control": made,
    "all parts plain": lambda m: made(m, packed=("", "")),
    "header gzip, payload plain": lambda m: made(m, packed=(".gz", "")),
    "header plain, payload xz": lambda m: made(m, packed=("", ".xz")),
    "payload named as another compression": lambda m: made(m, named=["header.tar.gz", "data/0000.tar.xz"]),
    "payload named as an unknown compression": lambda m: made(m, named=["header.tar.gz", "data/0000.tar.br"]),
    "version with other spaces": lambda m: made(m, version=b'{ "version":3,\n"format":"mender" }'),
    "version 4": lambda m: made(m, version=b'{"format": "mender", "version": 4}'),
    "manifest in another order": lambda m: made(m, listing=lines(lambda rows: rows[::-1])),
    "manifest with a blank line": lambda m: made(m, listing=lambda text: text + b"\n"),
    "manifest with one space": lambda m: made(m, listing=lambda text: text.replace(b"  ", b" ")),
    "manifest with a file that is not there": lambda m: made(m, listing=lambda text: text + b"0" * 64 + b"  data/0000/x\n"),
    "manifest without the payload": lambda m: made(m, listing=lines(lambda rows: rows[:2])),
    "manifest without the header": lambda m: made(m, listing=lines(lambda rows: rows[:1] + rows[2:])),
    "manifest without the version": lambda m: made(m, listing=lines(lambda rows: rows[1:])),
    "a wrong digest": lambda m: made(m, listing=lambda text: b"0" * 64 + text[64:]),
    "no type-info": lambda m: made(m, without("headers/0000/type-info")),
    "no header-info": lambda m: made(m, without("header-info")),
    "a number as a type": lambda m: made(m, kind(b'{"type": 7}')),
    "header-info that is no JSON": lambda m: made(m, {**HEADER, "header-info": b"{"}),
    "no payload in header-info": lambda m: made(m, info(payloads=[])),
    "a member that the header does not know": lambda m: made(m, {**HEADER, "notes": b"x"}),
    "something behind the payload": lambda m: made(m, further=[("evil", b"x")]),
    "no device type": lambda m: made(m, info(artifact_depends={})),
    "extended headers": pax,
    "meta-data that is no JSON": lambda m: made(m, meta(b"{")),
    "meta-data with a tab in a text": lambda m: made(m, meta(b'{"a": "\t"}')),
    "meta-data with other bytes than UTF-8": lambda m: made(m, meta(b'{"a": "\xff"}')),
    "meta-data that is a list": lambda m: made(m, meta(b"[1]")),
    "meta-data with a number that is too large": lambda m: made(m, meta(b'{"a": 1e400}')),
    "meta-data with NaN": lambda m: made(m, meta(b'{"a": NaN}')),
    "a name beyond ASCII": lambda m: made(m, info(artifact_provides={"artifact_name": "ü 1.0"})),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
@regression("C5", "Mender artifacts of another writer, in 32 forms good and wrong")
def test_artifacts_of_another_writer_are_judged_as_the_tool_judges(makers, name):
    artifact = SAME[name](makers)
    assert tool_accepts(makers, artifact) == (refused(makers, artifact) == ""), refused(makers, artifact)


def two_payloads(makers):
    header = {
        **info(payloads=[{"type": "single-file"}] * 2),
        "headers/0001/type-info": HEADER["headers/0000/type-info"],
    }
    second = ("data/0001.tar.gz", PACKED[".gz"](tar([("two.bin", b"x")])))
    row = f"{hashlib.sha256(b'x').hexdigest()}  data/0001/two.bin\n".encode()
    return made(makers, header, listing=lambda text: text + row, further=[second])


#: name to artifact, whether the tool accepts it, and our reason (empty: accepted)
DIFFERENT = {
    "another format": (lambda m: made(m, version=b'{"format": "other", "version": 3}'), True, "Only Mender artifacts"),
    "another type in type-info": (lambda m: made(m, kind(b'{"type": "docker"}')), True, "another in type-info"),
    "two payloads": (two_payloads, True, "several payloads"),
    "a key twice": (
        lambda m: made(m, {**HEADER, "header-info": HEADER["header-info"].replace(b"{", b'{"payloads": [], ', 1)}),
        True,
        "The key 'payloads' appears twice",
    ),
    "meta-data with a key twice": (lambda m: made(m, meta(b'{"a": 1, "a": 2}')), True, "The key 'a' appears twice"),
    "a number beyond 64 bits in type-info": (
        lambda m: made(m, kind(b'{"type": "single-file", "x": 18446744073709551616}')),
        True,
        "type-info that is not acceptable JSON: `x` must be a whole number from",
    ),
    "type-info 17 deep": (
        lambda m: made(m, kind(b'{"type": "single-file", "x": ' + b"[" * 16 + b"]" * 16 + b"}")),
        True,
        "nested deeper than 16 levels",
    ),
    "a name of 256 bytes": (lambda m: made(m, payload={"n" * 256: b"x"}), True, "has more than 255 bytes"),
    "a file twice in the manifest": (
        lambda m: made(m, listing=lambda text: text + text.splitlines(keepends=True)[0]),
        False,
        "malformed: it names 'version' twice",
    ),
    "upper-case digests": (lambda m: made(m, listing=lambda text: text[:64].upper() + text[64:]), False, "malformed"),
    "a name with a space": (lambda m: made(m, payload={"a b.bin": b"x"}), False, "malformed"),
    "payload packed with zstd": (lambda m: made(m, packed=(".zst", ".zst")), False, ""),
}


@pytest.mark.parametrize("name", DIFFERENT)
@regression("C5", "Mender artifacts about which the tool and a policy differ, each with its own reason")
def test_where_we_differ_from_the_tool_it_is_a_policy(makers, name):
    make, tool, words = DIFFERENT[name]
    artifact = make(makers)
    reason = refused(makers, artifact)
    assert (tool_accepts(makers, artifact), words in reason, bool(words)) == (tool, True, bool(reason)), reason
