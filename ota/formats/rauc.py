"""RAUC bundles: ``rauc extract`` verifies signature and payload, Muster the list of files and the signer.

A bundle is a squashfs, a dm-verity tree, and a CMS with the manifest inside; its size is in the last eight bytes.
``rauc info`` accepts a bundle whose payload was tampered with: only ``extract`` reads it all. The squashfs may hold
links and what no manifest names: refused here.
"""

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ota.errors import RefusedBundleError
from ota.formats import bombs, cms, magic, tarballs
from ota.formats.judgement import ArtefactToVerify, Judgement, TrustAnchor, report_line
from ota.formats.rauc_manifest import MANIFEST, read_manifest

MAX_CMS = 256 * 1024
SECONDS = 50
_TAIL = struct.Struct(">Q")
_LISTED = re.compile(r"(?P<mode>\S{10}) \S+\s+(?P<size>\d+) \S+ \S+ squashfs-root/?(?P<name>.*)")
#: what ``rauc extract`` says when a block is not the one in the signed tree of hashes
_CORRUPTED = "payload is corrupted"
PLAIN = "The bundle has `format=plain`, which is not accepted. Build it with `format=verity` in [bundle]."
_CONFIGURATION = """[system]
compatible=muster
bootloader=noop
[keyring]
path={anchor}
check-purpose=codesign
allow-partial-chain=true
"""


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the manifest says, if it and every byte verify under one of the anchors.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what no manifest names.
    """
    with case.image.open("rb") as file:
        if magic.kind_of_artefact(file) != "rauc":
            file.seek(0)
            magic.demand_magic(file.read(magic.ENOUGH), "rauc")
    anchor, signer, manifest = _signed(case, _signature(case.image))
    facts = read_manifest(manifest)
    sizes = _contents(case)
    _demand_named(sizes, {MANIFEST, *facts["files"]})
    _extract(case, anchor)
    return Judgement(
        facts={
            **facts,
            "flash": sum(sizes.values()),
            "signer": anchor.name,
            "signer_certificate": signer["certificate"],
            "signer_serial": signer["serial"],
        },
        statements=[
            report_line("signature", _tool("rauc"), f"extracted completely, signed under {anchor.name}"),
            report_line("contents", "muster", f"{len(sizes)} plain files, each named by the manifest"),
        ],
    )


def unpacked_size(image: Path) -> int:
    """Return how long a file the extraction may write, in bytes."""
    return bombs.allowed_size(image.stat().st_size)


def _signature(path: Path) -> bytes:
    """Return the CMS at the end of a bundle."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - _TAIL.size)
        length = _TAIL.unpack(file.read(_TAIL.size))[0]
        if not 0 < length <= min(MAX_CMS, size - _TAIL.size):
            msg = "The bundle is truncated, or has no signature at its end."
            raise RefusedBundleError(msg)
        file.seek(size - _TAIL.size - length)
        return file.read(length)


def _signed(case: ArtefactToVerify, signature: bytes) -> tuple[TrustAnchor, dict[str, str], str]:
    """Return the anchor, who signed below it, and the signed manifest."""
    if magic.cms_content(signature) == "enveloped":
        msg = (
            "The bundle is encrypted for devices (`rauc encrypt`) and cannot be verified. Upload a `format=verity` one."
        )
        raise RefusedBundleError(msg)
    anchor, signer, manifest = cms.open_signature(case, signature, "The bundle", PLAIN)
    try:
        return anchor, signer, manifest.decode()
    except UnicodeDecodeError as error:
        msg = "The bundle's manifest is not UTF-8. Build the bundle with `rauc bundle`."
        raise RefusedBundleError(msg) from error


def _contents(case: ArtefactToVerify) -> dict[str, int]:
    """Return the files of the squashfs with their sizes, and its folders with 0; nothing is unpacked yet."""
    done = _run(case, [_program("unsquashfs"), "-lln", "-no-progress", case.image])
    contents: dict[str, int] = {}
    for line in done.stdout.splitlines():
        match = _LISTED.fullmatch(line)
        if match is None:
            msg = "The bundle contains a device node or a name with line breaks. Only regular files are accepted."
            raise RefusedBundleError(msg)
        if match["mode"][0] not in "-d":
            msg = (
                f"The bundle holds {match['name'][:60]!r}, which is not a regular file. Only regular files are "
                "accepted."
            )
            raise RefusedBundleError(msg)
        if not match["name"]:  # the top of the bundle
            continue
        contents[match["name"] + "/" * (match["mode"][0] == "d")] = int(match["size"]) * (match["mode"][0] == "-")
    if done.returncode or MANIFEST not in contents:
        msg = "The bundle's squashfs cannot be read, or holds no manifest.raucm."
        raise RefusedBundleError(msg)
    bombs.UnpackingBudget(case.image.stat().st_size).spend(sum(contents.values()), "The bundle")
    return contents


def _demand_named(sizes: dict[str, int], named: set[str]) -> None:
    """Refuse files that the signed manifest does not name, and folders that hold none that it names."""
    for name in sorted(sizes):
        if name.endswith("/") and not any(one.startswith(name) for one in named):
            msg = f"The bundle holds the folder {name[:60]!r}, which contains no file that the manifest lists."
            raise RefusedBundleError(msg)
        if not name.endswith("/") and name not in named:
            msg = f"The bundle holds {name[:80]!r}, which its signed manifest does not list."
            raise RefusedBundleError(msg)
    if missing := sorted(named - set(sizes)):
        msg = f"The signed manifest lists {missing[0][:80]!r}, but the bundle does not contain it. Build it again."
        raise RefusedBundleError(msg)


def _extract(case: ArtefactToVerify, anchor: TrustAnchor) -> None:
    """Let ``rauc`` read all of it below the anchor whose signature was verified."""
    configuration, ca, target = (case.scratch / name for name in ("rauc.conf", "rauc-ca.pem", "out"))
    ca.write_text(anchor.pem)
    configuration.write_text(_CONFIGURATION.format(anchor=ca))
    command: list[str | Path] = [_program("rauc"), f"--conf={configuration}", "extract", case.image, target]
    done = _run(case, command)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1].replace(str(case.scratch), "")
        raise RefusedBundleError(_cause(said))
    _measure_archives(case, target)
    shutil.rmtree(target)


def _cause(said: str) -> str:
    """Return why ``rauc extract`` refuses a bundle whose manifest is signed: its payload, or what the manifest says."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in said[:160])
    if _CORRUPTED in said:
        return f"The bundle's payload was changed after it was signed. `rauc extract` says: {shown}"
    return (
        f"RAUC rejects the bundle's signed manifest. Build the bundle with `rauc bundle`. `rauc extract` says: {shown}"
    )


def _measure_archives(case: ArtefactToVerify, target: Path) -> None:
    """Measure what devices unpack with tar: images whose names say so, as ``rauc`` goes by them."""
    budget = bombs.UnpackingBudget(case.image.stat().st_size)
    for path in sorted(target.rglob("*.tar*")):
        if path.is_file():
            with path.open("rb") as file:
                tarballs.measure_archive(file, budget, f"The image {path.name[:60]!r}")


def _run(case: ArtefactToVerify, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(case.scratch), "HOME": str(case.scratch)}
    return subprocess.run(  # noqa: S603  because the programs are fixed and their inputs are files
        command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, cwd=case.scratch,
        env=environment,
    )  # fmt: skip


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        msg = f"The program {name} is needed to verify RAUC bundles; install rauc and squashfs-tools on the server."
        raise RefusedBundleError(msg)
    return path


def _tool(name: str) -> str:
    said = subprocess.run([_program(name), "--version"], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  because the program is fixed
    return said.stdout.strip()[:40]
