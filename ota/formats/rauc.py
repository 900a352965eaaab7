"""RAUC bundles: ``rauc extract`` judges signature and payload, the list of files and the signer are ours to check.

A bundle is a squashfs, a dm-verity tree, and a CMS with the manifest inside; its size stands in the last eight bytes.
``rauc info`` accepts a bundle whose payload was tampered with: only ``extract`` reads it all. The squashfs may hold
links and what no manifest names: refused here.
"""

import configparser
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ota.errors import RefusedBundleError
from ota.formats import bombs, cms, magic
from ota.formats.judgement import Case, Judgement, TrustAnchor, statement

MAX_CMS = 256 * 1024
SECONDS = 50
_TAIL = struct.Struct(">Q")
_LISTED = re.compile(r"(?P<mode>\S{10}) \S+\s+(?P<size>\d+) \S+ \S+ squashfs-root/?(?P<name>.*)")
_MANIFEST = "manifest.raucm"
_CONFIGURATION = """[system]
compatible=muster
bootloader=noop
[keyring]
path={anchor}
check-purpose=codesign
allow-partial-chain=true
"""


def judge(case: Case) -> Judgement:
    """Return what the manifest says, when one of the anchors stands behind it and behind every byte.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what no manifest names.
    """
    with case.image.open("rb") as file:
        magic.demand(file.read(magic.ENOUGH), "rauc")
    signature = _signature(case.image)
    sizes = _contents(case)
    anchor, signer, manifest = _verify(case, signature)
    facts = read_manifest(manifest)
    named = {_MANIFEST, *facts["files"]}
    if strays := sorted(set(sizes) - named):
        msg = f"The bundle holds {strays[0][:80]!r}, which its signed manifest does not name."
        raise RefusedBundleError(msg)
    return Judgement(
        facts={
            **facts,
            "flash": sum(sizes.values()),
            "signer": anchor.name,
            "signer_certificate": signer["certificate"],
            "signer_serial": signer["serial"],
        },
        statements=[
            statement("signature", _tool("rauc"), f"extracted whole, signed below {anchor.name}"),
            statement("contents", "muster", f"{len(sizes)} plain files, each named by the manifest"),
        ],
    )


def unpacked(image: Path) -> int:
    """Return how long a file the extraction may write, in bytes."""
    return bombs.allowed(image.stat().st_size)


def read_manifest(text: str) -> dict[str, Any]:
    """Return what a manifest says.

    Raises:
        RefusedBundleError: malformed, not of the format ``verity``, or without compatible and version.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    try:
        parser.read_string(text)
        facts: dict[str, Any] = {name: parser["update"][name] for name in ("compatible", "version")}
        form = parser["bundle"]["format"]
    except (configparser.Error, KeyError) as error:
        msg = "The bundle's manifest lacks compatible, version or format."
        raise RefusedBundleError(msg) from error
    if form != "verity":
        msg = f"Bundles of the format {form[:20]!r} are refused: build it with `format=verity`."
        raise RefusedBundleError(msg)
    images = [name for name in parser.sections() if name.startswith("image.")]
    files = [parser[name].get("filename", "") for name in (*images, "hooks", "handler") if parser.has_section(name)]
    return {**facts, "images": [name.removeprefix("image.") for name in images], "files": [one for one in files if one]}


def _signature(path: Path) -> bytes:
    """Return the CMS at the end of a bundle."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - _TAIL.size)
        length = _TAIL.unpack(file.read(_TAIL.size))[0]
        if not 0 < length <= min(MAX_CMS, size - _TAIL.size):
            msg = "The bundle is cut off, or has no signature at its end."
            raise RefusedBundleError(msg)
        file.seek(size - _TAIL.size - length)
        return file.read(length)


def _contents(case: Case) -> dict[str, int]:
    """Return the files of the squashfs with their sizes; nothing is unpacked yet."""
    done = _run(case, [_program("unsquashfs"), "-lln", "-no-progress", case.image])
    found: dict[str, int] = {}
    for line in done.stdout.splitlines():
        match = _LISTED.match(line)
        if match is None and " squashfs-root" in line:
            msg = "The bundle holds a device, a pipe or a socket. Only plain files are accepted."
            raise RefusedBundleError(msg)
        if match is None or not match["name"]:
            continue
        if match["mode"][0] != "-" or "/" in match["name"]:
            msg = f"The bundle holds {match['name'][:60]!r}, which is no plain file at its top; others are refused."
            raise RefusedBundleError(msg)
        found[match["name"]] = int(match["size"])
    if done.returncode or _MANIFEST not in found:
        msg = "The bundle's squashfs cannot be read, or holds no manifest.raucm."
        raise RefusedBundleError(msg)
    bombs.Budget(case.image.stat().st_size).spend(sum(found.values()), "The bundle")
    return found


def _verify(case: Case, signature: bytes) -> tuple[TrustAnchor, dict[str, str], str]:
    """Return the anchor, who signed below it, and the signed manifest."""
    configuration, ca, sig = (case.scratch / name for name in ("rauc.conf", "ca.pem", "bundle.cms"))
    sig.write_bytes(signature)
    for number, anchor in enumerate(case.anchors):
        if "CERTIFICATE" not in anchor.pem:
            continue
        ca.write_text(anchor.pem)
        configuration.write_text(_CONFIGURATION.format(anchor=ca))
        target = case.scratch / f"out{number}"
        command: list[str | Path] = [_program("rauc"), f"--conf={configuration}", "extract", case.image, target]
        if _run(case, command).returncode == 0:
            shutil.rmtree(target)
            signer, manifest = _signer(case, sig, ca)
            return anchor, cms.demand_one(signer, anchor, case.at), manifest
    msg = "The bundle is signed by none of the registered signing CAs, or was changed after it was signed."
    raise RefusedBundleError(msg)


def _signer(case: Case, sig: Path, ca: Path) -> tuple[bytes, str]:
    """Return the signer's certificate and the manifest that was signed."""
    leaf, manifest = case.scratch / "leaf.pem", case.scratch / "manifest"
    command: list[str | Path] = [_program("openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", sig]
    command += ["-CAfile", ca, "-no-CApath", "-no-CAstore", "-partial_chain", "-purpose", "any"]
    done = _run(case, [*command, "-attime", str(case.at), "-signer", leaf, "-out", manifest])
    if done.returncode:
        msg = "The bundle's signature holds no manifest (use `format=verity`), or its signer is not valid now."
        raise RefusedBundleError(msg)
    return leaf.read_bytes(), manifest.read_text(errors="replace")


def _run(case: Case, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(case.scratch), "HOME": str(case.scratch)}
    return subprocess.run(  # noqa: S603  because the programs are fixed and their inputs are files
        command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, cwd=case.scratch,
        env=environment,
    )  # fmt: skip


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        msg = f"The program {name} is needed to verify RAUC bundles; install rauc and squashfs-tools on the server."
        raise RefusedBundleError(msg)
    return found


def _tool(name: str) -> str:
    said = subprocess.run([_program(name), "--version"], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  because the program is fixed
    return said.stdout.strip()[:40]
