"""Mender artifacts of version 3: our own reader, and the signature over the manifest by a registered key.

An artifact is a tar archive: ``version``, ``manifest`` (SHA-256 of everything else), ``manifest.sig``, ``header.tar``
and ``data/0000.tar``, the last two plain or compressed (``.gz``, ``.xz``,
``.zst``). ``mender-artifact validate`` without a key accepts unsigned ones.
"""

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats import bombs, magic
from ota.formats.archive import archive_members, demand_nothing_else
from ota.formats.judgement import ArtefactToVerify, Judgement, TrustAnchor, report_line
from ota.formats.mender_header import MAX_SMALL, read_header_json, read_mender_header

MAX_HEADER = 8 << 20
_MEMBERS = ("version", "manifest", "manifest.sig", "header.tar", "data/0000.tar")
_ORDER = f"The artifact's members are not {', '.join(_MEMBERS)} in this order (the last two also with .gz, .xz or .zst)"
_COMPRESSIONS = {"": "", ".gz": "gzip", ".xz": "xz", ".zst": "zstd"}
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
#: bytes of a file's name, as Linux has them
_LONGEST_NAME = 255
_HALF, _RAW = 32, 64


@dataclass
class Found:
    """What was read: the small members, hashes of the large ones, and what the header says."""

    budget: bombs.UnpackingBudget
    small: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    header: BundleFacts = field(default_factory=BundleFacts)


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the artifact says, when one of the anchors has signed its manifest.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what is not listed.
    """
    with case.image.open("rb") as file:
        head = file.read(magic.ENOUGH)
        file.seek(0)
        magic.demand_magic(head, "mender")
        demand_nothing_else(file, "The artifact")
        found = _read(file)
    signer = verify_manifest(found.small["manifest"], found.small["manifest.sig"], case.anchors)
    _compare(manifest_digests(found.small["manifest"]), found.hashes)
    return Judgement(
        facts={
            **found.header,
            "files": dict(found.sizes),
            "flash": sum(found.sizes.values()),
            "signer": signer,
        },
        statements=[
            report_line("signature", "muster", f"manifest signed by {signer}"),
            report_line("contents", "muster", f"{len(found.hashes)} members, each listed and hashed"),
        ],
    )


def _read(file: BinaryIO) -> Found:
    found, count = Found(bombs.UnpackingBudget(file.seek(0, 2))), 0
    file.seek(0)
    for name, content, size in archive_members(file, "The artifact"):
        suffix = _suffix(name, count)
        if count < _MEMBERS.index("header.tar"):
            found.small[name] = _small(content, size, MAX_SMALL, name)
            _demand_version(found.small["version"])
        elif name.startswith("header.tar"):
            data = _small(content, size, MAX_HEADER, name)
            found.hashes[name] = hashlib.sha256(data).hexdigest()
            inside = _opened(io.BytesIO(data), suffix, found.budget, "The header")
            found.header = read_mender_header(archive_members(cast("BinaryIO", inside), "The header"))
        else:
            _payload(content, suffix, found)
        count += 1
    if count < len(_MEMBERS):
        msg = f"{_ORDER}: {_MEMBERS[count]} is missing. Write the artifact with `mender-artifact`."
        raise RefusedBundleError(msg)
    found.hashes["version"] = hashlib.sha256(found.small["version"]).hexdigest()
    return found


def _demand_version(data: bytes) -> None:
    if read_header_json(data, "version") != {"format": "mender", "version": 3}:
        msg = "Only Mender artifacts of version 3 are accepted. Write it with `mender-artifact write … -v 3`."
        raise RefusedBundleError(msg)


def _suffix(name: str, index: int) -> str:
    """Return the suffix of a member's compression, when it is the member that belongs in this place."""
    member = _MEMBERS[index] if index < len(_MEMBERS) else ""
    suffix = name.removeprefix(member)
    if member and name.startswith(member) and (suffix in _COMPRESSIONS if member.endswith(".tar") else not suffix):
        return suffix
    if member == "manifest.sig":
        why = "it is not signed. Sign it with `mender-artifact sign -k KEY`"
    elif "augment" in name:
        why = "it has an augmented header, which no signature covers. Write it without `--augment-…`"
    elif name.startswith("data/") and not member:
        why = "it has several payloads, and devices install artifacts with exactly one"
    else:
        why = f"{name[:60]!r} is in place {index + 1}. Write the artifact with `mender-artifact`"
    msg = f"{_ORDER}: {why}."
    raise RefusedBundleError(msg)


def _small(content: BinaryIO, size: int, limit: int, name: str) -> bytes:
    if size > limit:
        msg = f"The artifact's {name} has {size} bytes; at most {limit} are accepted."
        raise RefusedBundleError(msg)
    return content.read(limit)


def _opened(content: BinaryIO, suffix: str, budget: bombs.UnpackingBudget, what: str) -> "BinaryIO | bombs.Unpacked":
    """Return the tar archive within a member."""
    return bombs.Unpacked(content, _COMPRESSIONS[suffix], budget, what) if suffix else content


def _payload(content: BinaryIO, suffix: str, found: Found) -> None:
    """Hash each file of the payload as it streams by."""
    stream = _opened(content, suffix, found.budget, "The payload")
    for name, file, length in archive_members(cast("BinaryIO", stream), "The payload"):
        digest = hashlib.sha256()
        while chunk := file.read(1 << 16):
            digest.update(chunk)
        found.hashes[f"data/0000/{name}"] = digest.hexdigest()
        found.sizes[name] = length
    while stream.read(1 << 16):  # to the end, so that the checksums of the compression are compared
        continue


def manifest_digests(manifest: bytes) -> dict[str, str]:
    """Return name to SHA-256 of a manifest.

    Raises:
        RefusedBundleError: a line is malformed, or a name appears twice.
    """
    digests: dict[str, str] = {}
    for line in manifest.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            _malformed(f"{line[:80]!r} is not a digest and a name")
        if match[2] in digests:
            _malformed(f"it names {match[2][:80]!r} twice")
        if len(match[2].rpartition("/")[2].encode()) > _LONGEST_NAME:
            _malformed(f"the name {match[2][:80]!r}… has more than {_LONGEST_NAME} bytes")
        digests[match[2]] = match[1]
    return digests


def _malformed(why: str) -> NoReturn:
    msg = f"The artifact's manifest is malformed: {why}."
    raise RefusedBundleError(msg)


def verify_manifest(manifest: bytes, signature: bytes, anchors: Sequence[TrustAnchor]) -> str:
    """Return the name of the anchor that has signed a manifest.

    Args:
        manifest: the bytes that are signed.
        signature: base64 of r and s (ECDSA with P-256) or of an RSA PKCS#1 v1.5 signature.
        anchors: public keys.

    Raises:
        RefusedBundleError: none of them has.
    """
    try:
        raw = base64.b64decode(signature, validate=True)
    except binascii.Error as error:
        msg = "The artifact's signature is not base64."
        raise RefusedBundleError(msg) from error
    for anchor in anchors:
        key = serialization.load_pem_public_key(anchor.pem.encode())
        try:
            if isinstance(key, ec.EllipticCurvePublicKey) and len(raw) == _RAW:
                halves = int.from_bytes(raw[:_HALF], "big"), int.from_bytes(raw[_HALF:], "big")
                key.verify(utils.encode_dss_signature(*halves), manifest, ec.ECDSA(hashes.SHA256()))
                return anchor.name
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(raw, manifest, padding.PKCS1v15(), hashes.SHA256())
                return anchor.name
        except InvalidSignature:
            continue
    msg = "No registered trust key has signed this artifact. Sign it with `mender-artifact sign -k KEY`."
    raise RefusedBundleError(msg)


def _compare(listed: dict[str, str], found: dict[str, str]) -> None:
    for name, digest in found.items():
        if listed.get(name) != digest:
            msg = f"{name[:80]!r} is not listed in the signed manifest, or does not match it."
            raise RefusedBundleError(msg)
    if missing := sorted(set(listed) - set(found)):
        msg = f"The manifest lists {missing[0][:80]!r}, but the artifact does not contain it."
        raise RefusedBundleError(msg)
