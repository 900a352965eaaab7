"""RAUC bundles in many forms, judged beside ``rauc info``: what it accepts we do, but for the policies that are named.

``docs/reference/formats.md`` states each policy.
"""

import io
import os
import re
import struct
import subprocess
import tarfile

import pytest

from ota.errors import RefusedBundleError
from ota.formats import rauc
from ota.formats.judgement import ArtefactToVerify
from pki.kernel import clock
from tests.factories.artefacts import Makers, noise
from tests.peers.programs import require
from tests.regressions import regression

pytestmark = pytest.mark.peer

IMAGE = noise(16 * 1024, 5)


def _tarred(data):
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w:xz") as archive:
            member = tarfile.TarInfo("rootfs")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return stream.getvalue()


TARRED = _tarred(IMAGE)
UPDATE, VERITY, ROOTFS = (
    "[update]\ncompatible=node\nversion=2.3.4\n",
    "[bundle]\nformat=verity\n",
    "[image.rootfs]\nfilename=rootfs.img\n",
)
WHOLE = UPDATE + VERITY + ROOTFS
HOOK = b"#!/bin/sh\nexit 0\n"


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    made = Makers(tmp_path_factory.mktemp("rauc"))
    chain = made.pki.folder / "chain.pem"
    chain.write_text(made.pki.pem("signing-ca") + made.pki.pem("root"))
    keyring = f"[keyring]\npath={chain}\ncheck-purpose=codesign\n"
    (made.folder / "rauc.conf").write_text(f"[system]\ncompatible=node\nbootloader=noop\n{keyring}")
    return made


def run(*command, folder=None):
    return subprocess.run([str(one) for one in command], capture_output=True, check=False, timeout=60, cwd=folder)


def built(makers, manifest, files, extra=None, signer="signer"):
    """Return the bundle that ``rauc bundle`` makes."""
    work, out, pki = makers.place(""), makers.place(".raucb"), makers.pki.folder
    for name, data in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
        (work / name).chmod(0o755)
    (work / "manifest.raucm").write_text(manifest)
    if extra:
        extra(work)
    keys = [f"--cert={pki / f'{signer}.pem'}", f"--key={pki / f'{signer}.key'}"]
    done = run(require("rauc"), *keys, f"--intermediate={pki / 'signing-ca.pem'}", "bundle", work, out)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def resigned(makers, bundle, change):
    """Return a bundle whose manifest was changed by a function of its text, and signed again by the same signer."""
    length = struct.unpack(">Q", bundle[-8:])[0]
    cms, text, out = (makers.place(suffix) for suffix in (".cms", ".text", ".new"))
    cms.write_bytes(bundle[-8 - length : -8])
    read = ["openssl", "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", cms, "-out", text]
    assert run(*read).returncode == 0
    text.write_bytes(change(text.read_bytes()))
    pki = makers.pki.folder
    sign = [
        "openssl",
        "cms",
        "-sign",
        "-nodetach",
        "-binary",
        "-nosmimecap",
        "-outform",
        "DER",
        "-in",
        text,
        "-out",
        out,
    ]
    sign += ["-signer", pki / "signer.pem", "-inkey", pki / "signer.key", "-certfile", pki / "signing-ca.pem"]
    assert run(*sign).returncode == 0
    return bundle[: -8 - length] + out.read_bytes() + struct.pack(">Q", out.stat().st_size)


def refused(makers, bundle):
    """Return why we refuse a bundle; empty when we accept it."""
    path, scratch = makers.place(".raucb"), makers.place("")
    path.write_bytes(bundle)
    scratch.mkdir()
    try:
        rauc.judge(ArtefactToVerify("rauc", path, None, makers.anchors("rauc"), clock.unix(), scratch))
    except RefusedBundleError as error:
        return error.detail
    return ""


def rauc_accepts(makers, bundle):
    path = makers.place(".raucb")
    path.write_bytes(bundle)
    return run(require("rauc"), f"--conf={makers.folder / 'rauc.conf'}", "info", path).returncode == 0


ONE, TWO = {"rootfs.img": IMAGE}, {"rootfs.img": IMAGE, "app.img": IMAGE}
#: name to manifest, files, what else to do to the folder
ACCEPTED = {
    "verity": (WHOLE, ONE),
    "an adaptive image": (WHOLE + "adaptive=block-hash-index\n", ONE),
    "an adaptive image in a folder": (
        f"{UPDATE}{VERITY}[image.rootfs]\nfilename=a/rootfs.ext4\nadaptive=block-hash-index\n",
        {"a/rootfs.ext4": IMAGE},
    ),
    "two adaptive images": (
        f"{WHOLE}adaptive=block-hash-index\n[image.app]\nfilename=app.img\nadaptive=block-hash-index\n",
        TWO,
    ),
    "several slots": (f"{WHOLE}[image.app]\nfilename=app.img\n", TWO),
    "one file for two slots": (f"{WHOLE}[image.app]\nfilename=rootfs.img\n", ONE),
    "a variant of a slot": (f"{WHOLE}[image.rootfs.large]\nfilename=app.img\n", TWO),
    "no version": (f"[update]\ncompatible=node\n{VERITY}{ROOTFS}", ONE),
    "an empty version": (f"[update]\ncompatible=node\nversion=\n{VERITY}{ROOTFS}", ONE),
    "a version with spaces": (f"[update]\ncompatible=node\nversion = 2.3 beta 4\n{VERITY}{ROOTFS}", ONE),
    "a version beyond ASCII": (f"[update]\ncompatible=node\nversion=2.3-ü\n{VERITY}{ROOTFS}", ONE),
    "a version with escapes": (f"[update]\ncompatible=node\nversion=2\\s3\\\\4\n{VERITY}{ROOTFS}", ONE),
    "description and build": (f"{UPDATE}description=Fixes a=b [x]; #1\nbuild=20261129\n{VERITY}{ROOTFS}", ONE),
    "an install check": (f"{WHOLE}[hooks]\nfilename=hook.sh\nhooks=install-check\n", {**ONE, "hook.sh": HOOK}),
    "a hook of a slot": (
        f"{WHOLE}hooks=pre-install;post-install\n[hooks]\nfilename=hook.sh\n",
        {**ONE, "hook.sh": HOOK},
    ),
    "an image that a hook installs": (
        f"{WHOLE}[hooks]\nfilename=hook.sh\n[image.boot]\nfilename=app.img\nhooks=install\n",
        {**TWO, "hook.sh": HOOK},
    ),
    "a handler": (f"{WHOLE}[handler]\nfilename=all.sh\nargs=--fast\n", {**ONE, "all.sh": HOOK}),
    "a file in a folder": (f"{UPDATE}{VERITY}[image.rootfs]\nfilename=a/b/rootfs.img\n", {"a/b/rootfs.img": IMAGE}),
    "an odd file name": (f"{UPDATE}{VERITY}[image.rootfs]\nfilename=root fs+v~2@x.img\n", {"root fs+v~2@x.img": IMAGE}),
    "a compressed tar": (f"{UPDATE}{VERITY}[image.rootfs]\nfilename=rootfs.tar.xz\n", {"rootfs.tar.xz": TARRED}),
    "a file system for vfat": (f"{UPDATE}{VERITY}[image.efi]\nfilename=efi.vfat\n", {"efi.vfat": IMAGE}),
    "comments and Windows line ends": (f"# made by hand\n\n{WHOLE}".replace("\n", "\r\n"), ONE),
    "meta data of its own": (f"{WHOLE}[meta.acme]\nbranch=main\n", ONE),
}
#: the same, with what our refusal says
POLICIES = {
    "format plain": (UPDATE + ROOTFS, ONE, None, "`format=plain`, which is not accepted"),
    "format crypt": (WHOLE.replace("verity", "crypt"), ONE, None, "`format=crypt`: an encrypted payload"),
    "a casync index": (
        f"{UPDATE}{VERITY}[image.rootfs]\nfilename=rootfs.caibx\n",
        {"rootfs.caibx": IMAGE},
        None,
        "is a casync index",
    ),
    "a file that nobody named": (WHOLE, TWO, None, "'app.img', which its signed manifest does not list"),
    "a symbolic link": (WHOLE, ONE, lambda work: (work / "etc").symlink_to("/etc"), "which is not a regular file"),
    "an index of no adaptive image": (WHOLE, {**ONE, "rootfs.img.block-hash-index": IMAGE}, None, "does not list"),
    "an empty folder": (WHOLE, ONE, lambda work: (work / "a").mkdir(), "holds the folder 'a/'"),
    "a pipe": (WHOLE, ONE, lambda work: os.mkfifo(work / "pipe"), "not a regular file"),
    "a name with a line break": (
        WHOLE,
        ONE,
        lambda work: (work / "rootfs.img\nx").write_text("x"),
        "a name with line breaks",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
@regression("C5", "RAUC bundles in 23 forms that rauc accepts: adaptive, hooks, slots, variants, versions")
def test_what_rauc_accepts_is_accepted(makers, name):
    bundle = built(makers, *ACCEPTED[name])
    assert rauc_accepts(makers, bundle)
    assert refused(makers, bundle) == ""


@pytest.mark.parametrize("name", POLICIES)
@regression("V6", "RAUC bundles that rauc accepts and a policy refuses, each with its own reason")
def test_what_a_policy_refuses_is_refused_with_its_reason(makers, name):
    manifest, files, extra, words = POLICIES[name]
    bundle = built(makers, manifest, files, extra)
    assert rauc_accepts(makers, bundle)
    assert words in refused(makers, bundle)


#: changes of the signed manifest that ``rauc bundle`` would not write
ODD_MANIFESTS = {
    "unchanged": lambda text: text,
    "an unknown key": lambda text: text.replace(b"version=", b"colour=red\nversion="),
    "a key in other case": lambda text: text.replace(b"compatible=", b"Compatible="),
    "a key twice": lambda text: text.replace(b"version=", b"version=1\nversion="),
    "a group twice, with a key twice": lambda text: text + b"\n[update]\nversion=9\n",
    "an unknown group": lambda text: text + b"\n[DEFAULT]\nfilename=x\n",
    "a colon instead of the equals sign": lambda text: text.replace(b"version=", b"version: "),
    "a comment with a semicolon": lambda text: b"; made by hand\n" + text,
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "a continued line": lambda text: text.replace(b"2.3.4\n", b"2.3.4\n  more\n"),
    "a key before the first group": lambda text: b"version=1\n" + text,
    "no compatible": lambda text: text.replace(b"compatible=node\n", b""),
    "indented keys": lambda text: text.replace(b"version=", b"  version  =  "),
    "other bytes than UTF-8": lambda text: text.replace(b"2.3.4", b"2.3.4\xff"),
    "no update group": lambda text: text.replace(b"[update]\ncompatible=node\nversion=2.3.4\n", b""),
    "an unknown format": lambda text: text.replace(b"format=verity", b"format=quantum"),
    "no manifest": lambda _: b"\n",
}


@pytest.fixture(scope="module")
def plain_verity(makers):
    return built(makers, WHOLE, ONE)


@pytest.mark.parametrize("name", ODD_MANIFESTS)
@regression("C5", "RAUC manifests that no `rauc bundle` writes, signed all the same")
def test_signed_manifests_are_read_as_rauc_reads_them(makers, plain_verity, name):
    bundle = resigned(makers, plain_verity, ODD_MANIFESTS[name])
    assert rauc_accepts(makers, bundle) == (refused(makers, bundle) == "")


def filename(text):
    return lambda manifest: manifest.replace(b"filename=rootfs.img", b"filename=" + text)


def without(key):
    return lambda text: re.sub(rb"(?m)^" + key + rb"=.*\n", b"", text, count=1)


MANIFEST, PATHS = "RAUC rejects the bundle's signed manifest", "only plain relative paths"
#: changes of the signed manifest, whether ``rauc info`` accepts it, and our reason; no payload was changed in any
MANIFEST_CAUSES = {
    "a key with a space": (lambda text: text.replace(b"version=", b"ver sion=1\nversion="), False, MANIFEST),
    "an unknown hook": (lambda text: text + b"\n[hooks]\nhooks=foo\n", False, MANIFEST),
    "an unknown hook of an image": (filename(b"rootfs.img\nhooks=foo"), False, MANIFEST),
    "an image without a file": (lambda text: text + b"\n[image.x]\n", False, MANIFEST),
    "a size that is not a number": (lambda text: re.sub(rb"(?m)^size=\d+", b"size=x", text), False, MANIFEST),
    "no digest of an image": (without(b"sha256"), True, MANIFEST),
    "no size of an image": (without(b"size"), True, MANIFEST),
    "no verity size": (without(b"verity-size"), True, MANIFEST),
    "a verity size of 5": (lambda text: re.sub(rb"verity-size=\d+", b"verity-size=5", text), True, MANIFEST),
    "no verity salt": (without(b"verity-salt"), True, MANIFEST),
    "no verity hash": (without(b"verity-hash"), True, MANIFEST),
    "an image without a name": (lambda text: text + b"\n[image.]\nfilename=rootfs.img\n", True, MANIFEST),
    "a hook without a file": (filename(b"rootfs.img\nhooks=post-install"), True, MANIFEST),
    "a path that begins with a dot": (filename(b"./rootfs.img"), True, PATHS),
    "a path from the top": (filename(b"/rootfs.img"), True, PATHS),
    "a path that climbs": (filename(b"a/../rootfs.img"), True, PATHS),
    "a path with two slashes": (filename(b"a//rootfs.img"), True, PATHS),
    "a handler's path from the top": (lambda text: text + b"\n[handler]\nfilename=/rootfs.img\n", True, PATHS),
    "a hook's path with a dot": (lambda text: text + b"\n[hooks]\nfilename=./rootfs.img\n", True, PATHS),
}


@pytest.mark.parametrize("name", MANIFEST_CAUSES)
@regression("V6", "signed RAUC manifests that are wrong in one place, which is not blamed on the payload")
def test_a_wrong_manifest_is_not_called_a_changed_payload(makers, plain_verity, name):
    change, accepted, words = MANIFEST_CAUSES[name]
    bundle = resigned(makers, plain_verity, change)
    reason = refused(makers, bundle)
    assert (rauc_accepts(makers, bundle), words in reason, "changed" in reason) == (accepted, True, False), reason


@regression("V6", "a RAUC manifest with an escape sequence that GLib does not know; rauc reads no version there")
def test_an_unknown_escape_is_refused_although_rauc_drops_the_key(makers, plain_verity):
    bundle = resigned(makers, plain_verity, lambda text: text.replace(b"2.3.4", b"2.3\\x4"))
    assert rauc_accepts(makers, bundle)
    assert "unknown escape sequence in line 3" in refused(makers, bundle)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.fixture(scope="module")
def broken(makers, plain_verity):
    """Return what is wrong -> (bundle, words), one cause each."""
    bundle = plain_verity
    length, stranger = struct.unpack(">Q", bundle[-8:])[0], Makers(makers.folder / "stranger")
    other_hash = resigned(makers, bundle, lambda text: re.sub(rb"(verity-hash=)....", rb"\g<1>0000", text))
    start = len(bundle) - 8 - length
    cms = bundle[start:-8]
    return {
        "root hash": (other_hash, "payload was changed after it was signed"),
        "payload": (flipped(bundle, 4200), "payload was changed after it was signed"),
        "signature": (flipped(bundle, len(bundle) - 8 - 10), "carries a signature that was changed"),
        "manifest": (bundle.replace(b"version=2.3.4", b"version=2.3.5"), "is not the file that was signed"),
        "stranger": (built(stranger, WHOLE, ONE), "not signed under a registered signing CA"),
        "no CMS": (bundle[:start] + bytes(length) + bundle[-8:], "no readable CMS"),
        "cut off": (bundle[: len(bundle) // 2], "truncated"),
        "encrypted": (bundle[:start] + cms.replace(b"\x01\x07\x02", b"\x01\x07\x03", 1) + bundle[-8:], "rauc encrypt"),
    }


@pytest.mark.parametrize(
    "cause", ["root hash", "payload", "signature", "manifest", "stranger", "no CMS", "cut off", "encrypted"]
)
@regression("V6", "RAUC bundles broken in one place: one reason a cause")
def test_one_reason_for_each_cause(makers, broken, cause):
    bundle, words = broken[cause]
    assert words in refused(makers, bundle)
