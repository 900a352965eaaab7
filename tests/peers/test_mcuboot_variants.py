"""MCUboot images in many forms, judged beside imgtool: what it verifies we accept, but for the policies that are named.

``docs/reference/formats.md`` states each policy.
"""

import struct

import click
import pytest
from cryptography.hazmat.primitives import serialization
from imgtool import keys
from imgtool.image import Image, VerifyResult
from imgtool.main import imgtool

from ota.errors import RefusedBundleError
from ota.formats import mcuboot
from ota.formats.judgement import ArtefactToVerify, TrustAnchor
from pki.kernel import clock
from tests.factories.artefacts import noise
from tests.regressions import regression

pytestmark = pytest.mark.peer

KINDS = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072")
USUAL = {
    "--header-size": "0x20",
    "--slot-size": "0x8000",
    "--align": "4",
    "--version": "2.3.4",
    "--security-counter": "5",
}


class Bench:
    """Keys of every kind, and images signed with them."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        (folder / "flat.bin").write_bytes(noise(3000, 7))
        for kind in KINDS:
            imgtool.main(["keygen", "-k", str(folder / f"{kind}.pem"), "-t", kind], standalone_mode=False)
        self.pem = {}
        for kind in KINDS:
            key = serialization.load_pem_private_key((folder / f"{kind}.pem").read_bytes(), None).public_key()
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            self.pem[kind] = key.public_bytes(serialization.Encoding.PEM, form).decode()
            (folder / f"{kind}.pub").write_text(self.pem[kind])

    def sign(self, words="", kind="ecdsa-p256"):
        """Return an image; ``-NAME`` in the words leaves a usual option out."""
        self.count += 1
        out, options = self.folder / f"{self.count}.bin", dict(USUAL)
        further = words.replace("KEYS/", f"{self.folder}/").split()
        for one in [word for word in further if word.startswith("-no")]:
            further.remove(one)
            options.pop(f"--{one.removeprefix('-no')}")
        options = {name: value for name, value in options.items() if name not in further}
        command = ["sign", *(["--key", str(self.folder / f"{kind}.pem")] if kind else []), "--pad-header"]
        command += [*(one for pair in options.items() for one in pair), *further]
        imgtool.main([*command, str(self.folder / "flat.bin"), str(out)], standalone_mode=False)
        return out.read_bytes()

    def tool_accepts(self, image, kind="ecdsa-p256"):
        path = self.folder / "judged.bin"
        path.write_bytes(image)
        try:
            return Image.verify(str(path), keys.load(str(self.folder / f"{kind}.pub")))[0] == VerifyResult.OK
        except (struct.error, ValueError, IndexError, KeyError, TypeError, click.UsageError):
            return False

    def refused(self, image, kind="ecdsa-p256"):
        """Return why we refuse an image; empty when we accept it."""
        self.count += 1
        scratch = self.folder / f"scratch{self.count}"
        scratch.mkdir()
        (scratch / "image").write_bytes(image)
        anchors = (TrustAnchor(kind, self.pem[kind]),)
        try:
            facts = mcuboot.judge(
                ArtefactToVerify("mcuboot", scratch / "image", None, anchors, clock.unix(), scratch)
            ).facts
        except RefusedBundleError as error:
            return error.detail
        assert facts["flash"] == len(image)
        return ""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("mcuboot"))


#: name to options, kind of key
ACCEPTED = {
    **{f"signed with {kind}": ("", kind) for kind in KINDS},
    "ed25519, pure": ("--pure", "ed25519"),
    "ed25519 over SHA-512": ("--sha 512", "ed25519"),
    "ecdsa-p256 with its whole key": ("--public-key-format full", "ecdsa-p256"),
    "ed25519 with its whole key": ("--public-key-format full", "ed25519"),
    "a padded signature": ("--pad-sig", "ecdsa-p256"),
    "a header of 512 bytes": ("--header-size 0x200", "ecdsa-p256"),
    "a header of 4 KiB": ("--header-size 0x1000", "ecdsa-p256"),
    "a counter made of the version": ("--security-counter auto", "ecdsa-p256"),
    "the highest counter": ("--security-counter 4294967295", "ecdsa-p256"),
    "a version with a build number": ("--version 1.2.3+45", "ecdsa-p256"),
    "a dependency": ("--dependencies (1,1.2.3+0)", "ecdsa-p256"),
    "two dependencies": ("--dependencies (1,1.2.3),(2,0.9.1)", "ecdsa-p256"),
    "vendor and class": ("--vid acme.example --cid node", "ecdsa-p256"),
    "a custom TLV in the signed part": ("--custom-tlv 0x00a0 hello", "ecdsa-p256"),
    "a boot record": ("--boot-record CoFM", "ecdsa-p256"),
    "a fixed address in ROM": ("--rom-fixed 0x10000", "ecdsa-p256"),
    "a load address": ("--load-addr 0x20000000", "ecdsa-p256"),
    "not bootable": ("--non-bootable", "ecdsa-p256"),
    "padded to its slot": ("--pad", "ecdsa-p256"),
    "padded, aligned by 8": ("--pad --align 8", "ecdsa-p256"),
    "padded, aligned by 32": ("--pad --align 32 --max-align 32", "ecdsa-p256"),
    "padded, overwrite only": ("--pad --overwrite-only", "ecdsa-p256"),
    "padded for a test swap": ("--test", "ecdsa-p256"),
    "padded, erased flash is zero": ("--pad --erased-val 0", "ecdsa-p256"),
    "few sectors": ("--pad --max-sectors 16", "ecdsa-p256"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
@regression("C5", "MCUboot images in 30 forms that imgtool verifies: keys, hashes, TLVs, headers, swap trailers")
def test_what_imgtool_verifies_is_accepted(bench, name):
    words, kind = ACCEPTED[name]
    image = bench.sign(words, kind)
    assert bench.tool_accepts(image, kind)
    assert bench.refused(image, kind) == ""


def extended(image, extra):
    """Return an image with one more TLV in its unsigned part."""
    header, size, protected = (
        struct.unpack_from("<H", image, 8)[0],
        *struct.unpack_from("<IH", image[12:16] + image[10:12]),
    )
    at = header + size + protected
    total = struct.unpack_from("<H", image, at + 2)[0]
    return (
        image[: at + 2]
        + struct.pack("<H", total + len(extra))
        + image[at + 4 : at + total]
        + extra
        + image[at + total :]
    )


POLICIES = {
    "no security counter": (lambda bench: bench.sign("-nosecurity-counter"), "no security counter"),
    "encrypted": (lambda bench: bench.sign("--encrypt KEYS/ecdsa-p256.pub"), "Encrypted and compressed"),
    "to be encrypted": (lambda bench: bench.sign("--clear --encrypt KEYS/ecdsa-p256.pub"), "Encrypted and compressed"),
    "compressed": (lambda bench: bench.sign("--compression lzma2 --header-size 0x40"), "Encrypted and compressed"),
    "marked as confirmed": (lambda bench: bench.sign("--confirm"), "marked as confirmed"),
    "marked as confirmed, aligned by 32": (
        lambda bench: bench.sign("--confirm --align 32 --max-align 32"),
        "marked as confirmed",
    ),
    "bytes behind the image": (lambda bench: bench.sign() + b"evil", "unsigned bytes"),
    "bytes before a trailer": (lambda bench: hidden(bench.sign("--pad")), "unsigned bytes"),
    "an unknown TLV outside the signed part": (
        lambda bench: extended(bench.sign(), struct.pack("<HH4s", 0x00A0, 4, b"evil")),
        "unknown or doubled TLVs",
    ),
    "a hash twice": (
        lambda bench: extended(bench.sign(), struct.pack("<HH32s", 0x10, 32, bytes(32))),
        "unknown or doubled TLVs",
    ),
}


def hidden(image):
    at = len(image) - 200
    return image[:at] + b"evil" + image[at + 4 :]


@pytest.mark.parametrize("name", POLICIES)
@regression("V6", "MCUboot images that imgtool verifies and a policy refuses, each with its own reason")
def test_what_a_policy_refuses_is_refused_with_its_reason(bench, name):
    make, words = POLICIES[name]
    image = make(bench)
    assert bench.tool_accepts(image) or "crypted" in name
    assert words in bench.refused(image)


def flipped(image, at):
    return image[:at] + bytes([image[at] ^ 1]) + image[at + 1 :]


WRONG = {
    "payload": lambda bench: flipped(bench.sign(), 900),
    "version": lambda bench: flipped(bench.sign(), 20),
    "counter": lambda bench: flipped(bench.sign(), 0x20 + 3000 + 8),
    "magic": lambda bench: flipped(bench.sign(), 0),
    "cut in the TLVs": lambda bench: bench.sign()[:-30],
    "cut before the TLVs": lambda bench: bench.sign()[: 0x20 + 2000],
    "never signed": lambda bench: bench.sign(kind=""),
    "another key": lambda bench: bench.sign(kind="ecdsa-p384"),
    "another kind of key": lambda bench: bench.sign(kind="ed25519"),
    "big-endian": lambda bench: bench.sign("--endian big"),
    "the hash of another image": lambda bench: bench.sign()[:-1],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_imgtool_does_not_verify_is_refused(bench, name):
    image = WRONG[name](bench)
    assert not bench.tool_accepts(image)
    assert bench.refused(image)
