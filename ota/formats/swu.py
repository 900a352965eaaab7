"""SWUpdate archives: a cpio archive whose signed description must list every member with its hash.

OpenSSL judges the CMS signature against the registered signing CAs; chain, time and extended key usage are ours to
check, since ``openssl cms`` of 3.0 knows no purpose for code signing. No member is ever unpacked by its name.
"""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  because the child process runs this file without a type checker

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ota.errors import RefusedBundleError
from ota.formats import magic
from ota.formats.judgement import Case, Judgement, read, statement

MAX_ARCHIVE = 1 << 29
MAX_DESCRIPTION = 256 * 1024
MAX_MEMBERS = 64
_HEADER = 110
_MAGIC = b"070702"
_TRAILER = "TRAILER!!!"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENTRY = re.compile(r"\{([^{}]*)\}")
_FIELD = re.compile(r'([A-Za-z0-9_-]+)\s*[:=]\s*"([^"\\]*)"')
_COMPATIBLE = re.compile(r"hardware-compatibility\s*[:=]\s*\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    name: str
    data: bytes


def judge(case: Case) -> Judgement:
    """Return what the description says, when one of the anchors stands behind it.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what is not listed.
    """
    data = read(case.image, MAX_ARCHIVE, "archive")
    magic.demand(data[: magic.ENOUGH], "swu")
    members = unpack(data)
    if [one.name for one in members[:2]] != ["sw-description", "sw-description.sig"]:
        msg = "The archive does not begin with sw-description and sw-description.sig; sign it with CMS."
        raise RefusedBundleError(msg)
    description, signature, *payloads = members
    signer = _verify(case, description.data, signature.data)
    facts = _describe(description.data)
    _compare(facts["files"], payloads)
    return Judgement(
        facts={
            "version": facts["version"],
            "hardware": facts["hardware"],
            "flash": sum(len(one.data) for one in payloads),
            "signer": signer,
        },
        statements=[
            statement("signature", "openssl cms", f"signed by {signer}"),
            statement("contents", "muster", f"{len(payloads)} members, each listed and hashed"),
        ],
    )


def unpack(data: bytes) -> list[Member]:
    """Read a cpio archive with checksums, names and sizes checked.

    Raises:
        RefusedBundleError: cut, doubled, checksums wrong, or a name that could leave a folder.
    """
    members: list[Member] = []
    offset = 0
    while True:
        name, size, checksum, start = _head(data, offset)
        if name == _TRAILER:
            break
        body = data[start : start + size]
        if len(body) != size or sum(body) & 0xFFFF_FFFF != checksum:
            msg = f"The member {name[:60]!r} is cut or its checksum is wrong."
            raise RefusedBundleError(msg)
        if not _NAME.fullmatch(name) or name in {one.name for one in members} or len(members) >= MAX_MEMBERS:
            msg = f"The member name {name[:60]!r} is refused: plain names, each once, at most {MAX_MEMBERS}."
            raise RefusedBundleError(msg)
        members.append(Member(name, body))
        offset = _aligned(start + size)
    if data[_aligned(start) :].strip(b"\0"):
        msg = "Bytes follow the end of the archive."
        raise RefusedBundleError(msg)
    return members


def _head(data: bytes, offset: int) -> tuple[str, int, int, int]:
    """Return name, size, checksum and start of the body of the member at an offset."""
    head = data[offset : offset + _HEADER]
    if len(head) != _HEADER or head[:6] != _MAGIC:
        msg = "The archive is cut or is not cpio with checksums (`crc`, 070702)."
        raise RefusedBundleError(msg)
    fields = [int(head[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
    size, length, checksum = fields[6], fields[11], fields[12]
    name = data[offset + _HEADER : offset + _HEADER + length]
    if not 0 < length <= 200 or len(name) != length or name[-1:] != b"\0":  # noqa: PLR2004  because no member name is longer
        msg = "A member's name in the archive is malformed."
        raise RefusedBundleError(msg)
    return name[:-1].decode("ascii", "replace"), size, checksum, _aligned(offset + _HEADER + length)


def _aligned(offset: int) -> int:
    return -(-offset // 4) * 4


def _verify(case: Case, description: bytes, signature: bytes) -> str:
    """Return the name of the anchor behind the signer.

    Raises:
        RefusedBundleError: none is, or the signer may not sign code.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        msg = "The program openssl is needed to verify SWUpdate archives; install it on the server."
        raise RefusedBundleError(msg)
    content, sig, ca, leaf = (case.scratch / name for name in ("content", "sig", "ca.pem", "signer.pem"))
    content.write_bytes(description)
    sig.write_bytes(signature)
    for anchor in case.anchors:
        ca.write_text(anchor.pem)
        command: list[str | Path] = [
            openssl,
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-in",
            sig,
            "-content",
            content,
        ]
        command += ["-CAfile", ca, "-no-CApath", "-no-CAstore", "-partial_chain", "-purpose", "any"]
        command += ["-attime", str(case.at), "-signer", leaf, "-out", "/dev/null"]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)  # noqa: S603  because the command is fixed and its inputs are files
        if done.returncode == 0:
            _demand_code_signing(leaf.read_bytes())
            return anchor.name
    msg = "The description is signed by none of the registered signing CAs, or its signer has expired."
    raise RefusedBundleError(msg)


def _demand_code_signing(pem: bytes) -> None:
    signers = x509.load_pem_x509_certificates(pem)
    for signer in signers:
        try:
            usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        if ExtendedKeyUsageOID.CODE_SIGNING not in usage:
            msg = "The signer's certificate may not sign code: its extended key usage lacks codeSigning."
            raise RefusedBundleError(msg)


def _describe(data: bytes) -> dict[str, object]:
    """Return version, hardware and listed files of a description."""
    if len(data) > MAX_DESCRIPTION:
        msg = "sw-description is too long."
        raise RefusedBundleError(msg)
    text = re.sub(r"/\*.*?\*/|//[^\n]*|#[^\n]*", "", data.decode("utf-8", "replace"), flags=re.DOTALL)
    version = re.search(r'^\s*version\s*[:=]\s*"([^"\\]{1,40})"', text, re.MULTILINE)
    if version is None:
        msg = "sw-description names no version."
        raise RefusedBundleError(msg)
    compatible = _COMPATIBLE.search(text)
    files = {}
    for group in _ENTRY.findall(text):
        fields = dict(_FIELD.findall(group))
        if "filename" in fields:
            files[fields["filename"]] = fields.get("sha256", "")
    hardware = re.findall(r'"([^"\\]{1,60})"', compatible[1]) if compatible else []
    return {"version": version[1], "hardware": hardware, "files": files}


def _compare(listed: object, payloads: list[Member]) -> None:
    files = dict(listed) if isinstance(listed, dict) else {}
    for one in payloads:
        if one.name not in files:
            msg = f"The member {one.name!r} is not listed in the signed description."
            raise RefusedBundleError(msg)
        if hashlib.sha256(one.data).hexdigest() != files[one.name]:
            msg = f"The member {one.name!r} does not have the sha256 that the signed description gives."
            raise RefusedBundleError(msg)
    if missing := sorted(set(files) - {one.name for one in payloads}):
        msg = f"The description lists {missing[0]!r}, and the archive does not hold it."
        raise RefusedBundleError(msg)
