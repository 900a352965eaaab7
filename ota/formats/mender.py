"""Mender artifacts of version 3: our own reader, and the signature over the manifest by a registered key.

An artifact is a tar archive: ``version``, ``manifest`` (SHA-256 of everything else), ``manifest.sig``,
``header.tar.gz``, ``data/0000.tar.gz``. ``mender-artifact validate`` without a key accepts unsigned ones.
"""

import base64
import binascii
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from ota.errors import RefusedBundleError
from ota.formats import bombs, magic
from ota.formats.archive import demand_nothing_else, members
from ota.formats.judgement import Case, Judgement, TrustAnchor, statement

MAX_SMALL = 1 << 20
MAX_HEADER = 8 << 20
_ORDER = ("version", "manifest", "manifest.sig", "header.tar.gz", "data/0000.tar.gz")
_LINE = re.compile(r"([0-9a-f]{64})  (\S{1,200})")
_HALF, _RAW = 32, 64


@dataclass
class Found:
    """What was read: the small members, hashes of the large ones, and what the header says."""

    budget: bombs.Budget
    small: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)


def judge(case: Case) -> Judgement:
    """Return what the artifact says, when one of the anchors has signed its manifest.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or holds what is not listed.
    """
    with case.image.open("rb") as file:
        head = file.read(magic.ENOUGH)
        file.seek(0)
        magic.demand(head, "mender")
        demand_nothing_else(file, "The artifact")
        found = _read(file)
    signer = verify(found.small["manifest"], found.small["manifest.sig"], case.anchors)
    _compare(listed(found.small["manifest"]), found.hashes)
    facts = _facts(found)
    return Judgement(
        facts={**facts, "flash": sum(found.sizes.values()), "signer": signer},
        statements=[
            statement("signature", "muster", f"manifest signed by {signer}"),
            statement("contents", "muster", f"{len(found.hashes)} members, each listed and hashed"),
        ],
    )


def _read(file: BinaryIO) -> Found:
    found, names = Found(bombs.Budget(file.seek(0, 2))), []
    file.seek(0)
    for name, content, size in members(file, "The artifact"):
        names.append(name)
        if name not in _ORDER[: len(names)] or _ORDER[len(names) - 1] != name:
            msg = f"The artifact's members are not {', '.join(_ORDER)} in this order. Only one payload is accepted."
            raise RefusedBundleError(msg)
        if name == "header.tar.gz":
            data = _small(content, size, MAX_HEADER, name)
            found.hashes[name] = hashlib.sha256(data).hexdigest()
            found.header = _header(data, found.budget)
        elif name == "data/0000.tar.gz":
            _payload(content, found)
        else:
            found.small[name] = _small(content, size, MAX_SMALL, name)
    if tuple(names) != _ORDER:
        msg = f"The artifact lacks {_ORDER[len(names)]}; sign it with `mender-artifact sign`."
        raise RefusedBundleError(msg)
    found.hashes["version"] = hashlib.sha256(found.small["version"]).hexdigest()
    if _json(found.small["version"], "version") != {"format": "mender", "version": 3}:
        msg = "Only Mender artifacts of version 3 are accepted."
        raise RefusedBundleError(msg)
    return found


def _small(content: BinaryIO, size: int, limit: int, name: str) -> bytes:
    if size > limit:
        msg = f"{name} has {size} bytes; at most {limit} are accepted."
        raise RefusedBundleError(msg)
    return content.read(limit)


def _payload(content: BinaryIO, found: Found) -> None:
    """Hash each file of the payload as it streams by."""
    stream = bombs.Unpacked(content, "gzip", found.budget, "The payload")
    for name, file, length in members(cast("BinaryIO", stream), "The payload"):
        digest = hashlib.sha256()
        while chunk := file.read(1 << 16):
            digest.update(chunk)
        found.hashes[f"data/0000/{name}"] = digest.hexdigest()
        found.sizes[name] = length
    stream.drain()


def _header(data: bytes, budget: bombs.Budget) -> dict[str, Any]:
    """Return ``header-info`` and the names of state scripts, which run as root on the device."""
    stream = cast("BinaryIO", bombs.Unpacked(io.BytesIO(data), "gzip", budget, "The header"))
    info, scripts = None, []
    for name, file, size in members(stream, "The header"):
        if name == "header-info":
            info = _json(_small(file, size, MAX_SMALL, name), name)
        elif name.startswith("scripts/"):
            scripts.append(name.removeprefix("scripts/"))
    if not isinstance(info, dict):
        msg = "The artifact's header has no header-info."
        raise RefusedBundleError(msg)
    return {**info, "scripts": scripts}


def listed(manifest: bytes) -> dict[str, str]:
    """Return name to SHA-256 of a manifest.

    Raises:
        RefusedBundleError: a line is malformed, or a name stands twice.
    """
    found: dict[str, str] = {}
    for line in manifest.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found:
            msg = "The artifact's manifest is malformed."
            raise RefusedBundleError(msg)
        found[match[2]] = match[1]
    return found


def verify(manifest: bytes, signature: bytes, anchors: Sequence[TrustAnchor]) -> str:
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
    msg = "None of the registered trust keys has signed this artifact; sign it with `mender-artifact sign -k KEY`."
    raise RefusedBundleError(msg)


def _compare(listed: dict[str, str], found: dict[str, str]) -> None:
    for name, digest in found.items():
        if listed.get(name) != digest:
            msg = f"{name[:80]!r} is not listed in the signed manifest, or is not what it lists."
            raise RefusedBundleError(msg)
    if missing := sorted(set(listed) - set(found)):
        msg = f"The manifest lists {missing[0][:80]!r}, and the artifact does not hold it."
        raise RefusedBundleError(msg)


def _facts(found: Found) -> dict[str, Any]:
    info = found.header
    try:
        name = str(info["artifact_provides"]["artifact_name"])
        devices = [str(one) for one in info["artifact_depends"]["device_type"]]
        payloads = [str(one["type"]) for one in info["payloads"]]
    except (KeyError, TypeError) as error:
        msg = "The artifact's header-info lacks artifact_name, device_type or payloads."
        raise RefusedBundleError(msg) from error
    return {
        "artifact": name,
        "hardware": devices,
        "payloads": payloads,
        "scripts": info["scripts"],
        "files": dict(found.sizes),
    }


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f"{name} of the artifact is no JSON."
        raise RefusedBundleError(msg) from error
