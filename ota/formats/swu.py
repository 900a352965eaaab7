"""SWUpdate archives: a cpio archive whose signed description must list every member with its hash.

No member is ever unpacked by its name.
"""

import hashlib
import io
import re
from dataclasses import dataclass

from ota.errors import RefusedBundleError
from ota.formats import bombs, cms, magic
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
    content = case.scratch / "content"
    content.write_bytes(description.data)
    signer = cms.verify(case, content, signature.data, "The description")
    facts = _describe(description.data)
    _compare(facts["files"], payloads)
    return Judgement(
        facts={
            "version": facts["version"],
            "hardware": facts["hardware"],
            "flash": sum(len(one.data) for one in payloads),
            "signer": signer["name"],
            "signer_certificate": signer["certificate"],
            "signer_serial": signer["serial"],
        },
        statements=[
            statement("signature", "openssl cms", f"signed below {signer['name']}"),
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
    budget = bombs.Budget(sum(len(one.data) for one in payloads))
    for one in payloads:
        if one.name not in files:
            msg = f"The member {one.name!r} is not listed in the signed description."
            raise RefusedBundleError(msg)
        bombs.measured_size(io.BytesIO(one.data), budget, f"The member {one.name!r}")
        if hashlib.sha256(one.data).hexdigest() != files[one.name]:
            msg = f"The member {one.name!r} does not have the sha256 that the signed description gives."
            raise RefusedBundleError(msg)
    if missing := sorted(set(files) - {one.name for one in payloads}):
        msg = f"The description lists {missing[0]!r}, and the archive does not hold it."
        raise RefusedBundleError(msg)
