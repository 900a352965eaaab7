"""MCUboot images: imgtool verifies the signature; our own parser trusts only header and protected TLVs.

Layout (MCUboot ``docs/design.md``): 32-byte header, payload, protected TLVs (hashed and signed), then
unprotected TLVs with hash and signature. imgtool accepts bytes after the TLVs, unknown unprotected TLVs and,
without a key, unsigned images; all of that is refused here.
"""

import importlib.metadata
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from imgtool import keys
from imgtool.image import Image, VerifyResult

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats import magic
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line

MAX_IMAGE = 64 * 1024 * 1024
_HEADER = struct.Struct("<IIHHIIBBHII")
_MAGIC, _PROTECTED, _UNPROTECTED = 0x96F3B83D, 0x6908, 0x6907
_ENCRYPTED = 0x4 | 0x8
_COMPRESSED = 0x200 | 0x400 | 0x800
_COUNTER, _DEPENDENCY, _VENDOR, _CLASS = 0x50, 0x40, 0x74, 0x75
#: Hashes, key hash or key, signatures: what the bootloader itself needs outside the signed part.
_KNOWN_UNPROTECTED = {0x01, 0x02, 0x10, 0x11, 0x12, 0x20, 0x22, 0x23, 0x24, 0x25}
_COUNTER_BYTES, _UUID_BYTES, _DEPENDENCY_BYTES = 4, 16, 12
_TLV_HEAD = 4
#: at the end of a slot (MCUboot ``bootutil_public.c``): for alignments up to 8, and behind two bytes of a larger one
_SWAP_MAGIC = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
_SWAP_MAGIC_ALIGNED = bytes.fromhex("2de15d29410b8d77679c110f1f8a")


@dataclass(frozen=True, slots=True)
class Header:
    """The signed header of an image: sizes in bytes, flags, and version as ``a.b.c+d``."""

    header_size: int
    protected_size: int
    image_size: int
    flags: int
    version: str


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the image says, when one of the anchors has signed it.

    Raises:
        RefusedBundleError: it is broken, unsigned, signed by a stranger, or says too little.
    """
    data = read_whole_file(case.image, MAX_IMAGE, "image")
    magic.demand_magic(data[: magic.ENOUGH], "mcuboot")
    header = read_mcuboot_header(data)
    protected = read_structure(data, header)
    signer = _verify(case)
    facts: BundleFacts = {"version": header.version, "payload_bytes": header.image_size, "flash": len(data)}
    tool = f"imgtool {importlib.metadata.version('imgtool')}"
    return Judgement(
        facts={**facts, **_facts(protected), "signer": signer},
        statements=[
            report_line("signature", tool, f"signed by {signer}"),
            report_line("structure", "muster", "header and protected TLVs read, nothing follows them"),
        ],
    )


def read_mcuboot_header(data: bytes) -> Header:
    """Return the header.

    Raises:
        RefusedBundleError: cut off, contradictory, encrypted or compressed.
    """
    if len(data) < _HEADER.size:
        msg = "The image is truncated: it is shorter than an MCUboot header."
        raise RefusedBundleError(msg)
    number, _load, header_size, protected, size, flags, major, minor, revision, build, _pad = _HEADER.unpack_from(data)
    if number != _MAGIC or header_size < _HEADER.size:
        msg = "The image has no valid MCUboot header."
        raise RefusedBundleError(msg)
    if flags & (_ENCRYPTED | _COMPRESSED):
        msg = "Encrypted and compressed MCUboot images cannot be inspected; upload the plain signed image."
        raise RefusedBundleError(msg)
    version = f"{major}.{minor}.{revision}+{build}"
    return Header(header_size, protected, size, flags, version)


def read_structure(data: bytes, header: Header) -> list[tuple[int, bytes]]:
    """Return the protected TLVs, after checking that nothing follows all TLVs but empty flash and a plain trailer.

    Raises:
        RefusedBundleError: truncated, unknown unprotected TLVs, or unsigned bytes.
    """
    start = header.header_size + header.image_size
    protected, end = _area(data, start, _PROTECTED)
    if header.protected_size != end - start:
        msg = "The image contradicts itself: header and protected TLVs differ in size."
        raise RefusedBundleError(msg)
    unprotected, last = _area(data, end, _UNPROTECTED)
    kinds = [kind for kind, _value in unprotected]
    if not set(kinds) <= _KNOWN_UNPROTECTED or len(set(kinds)) != len(kinds):
        msg = "The image carries unknown or doubled TLVs outside its signed part; build it without them."
        raise RefusedBundleError(msg)
    _demand_trailer(data[last:])
    return protected


def _demand_trailer(rest: bytes) -> None:
    """Refuse what follows the TLVs, but for empty flash and the trailer that ``imgtool sign --pad`` writes.

    Nobody signs the trailer. It may ask for a swap (MCUboot's magic at the end of the slot), which a bootloader does
    for a test; marked as confirmed, the image could not be taken back.
    """
    alignment = _trailer_alignment(rest)
    fill = rest[: -len(_SWAP_MAGIC)] if alignment else rest
    if not fill.strip(b"\xff") or (alignment and not fill.strip(b"\0")):
        return
    confirmed = -(-(-len(_SWAP_MAGIC) // alignment) * alignment + alignment) if alignment else 0
    if alignment and rest[confirmed:][:1] == b"\x01":
        msg = "The image is marked as confirmed, so the bootloader would never revert it. Sign it without `--confirm`."
        raise RefusedBundleError(msg)
    msg = f"{len(rest)} unsigned bytes follow the image. Remove them."
    raise RefusedBundleError(msg)


def _trailer_alignment(rest: bytes) -> int:
    """Return the flash alignment from the magic number at the end of a slot; 0 where there is none."""
    magic = rest[-len(_SWAP_MAGIC) :]
    if magic == _SWAP_MAGIC:
        return 8
    known = magic[2:] == _SWAP_MAGIC_ALIGNED and int.from_bytes(magic[:2], "little") in {16, 32}
    return int.from_bytes(magic[:2], "little") if known else 0


def _area(data: bytes, start: int, number: int) -> tuple[list[tuple[int, bytes]], int]:
    """Return one TLV area and where it ends; an absent protected area is empty."""
    if start + 4 > len(data):
        msg = "The image is truncated: its TLV area is missing."
        raise RefusedBundleError(msg)
    magic, size = struct.unpack_from("<HH", data, start)
    if magic != number:
        if number == _PROTECTED:
            return [], start
        msg = "The image is damaged: there is no TLV area where the header says."
        raise RefusedBundleError(msg)
    end = start + size
    if size < _TLV_HEAD or end > len(data):
        msg = "The image is truncated within its TLV area."
        raise RefusedBundleError(msg)
    entries, at = [], start + 4
    while at < end:
        if at + 4 > end:
            break
        kind, length = struct.unpack_from("<HH", data, at)
        entries.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != end:
        msg = "The image is damaged: its TLVs do not fill their area."
        raise RefusedBundleError(msg)
    return entries, end


def _verify(case: ArtefactToVerify) -> str:
    """Return the name of the anchor that has signed the image."""
    if not case.anchors:
        msg = "No trust key is registered for this component; add one with `manage.py bundle trust`."
        raise RefusedBundleError(msg)
    # imgtool chooses its reader by the file's extension: it must see a neutral one.
    path = case.scratch / "image.bin"
    path.symlink_to(case.image)
    outcome = "INVALID_SIGNATURE"
    for number, anchor in enumerate(case.anchors):
        key_file = case.scratch / f"key{number}.pem"
        key_file.write_text(anchor.pem)
        outcome = _outcome(path, key_file)
        if outcome == VerifyResult.OK.name:
            return anchor.name
        if outcome == VerifyResult.INVALID_HASH.name:
            break
    sentences = {
        "INVALID_HASH": "The image was changed after it was signed (its hash does not match).",
        "INVALID_MAGIC": "The image has no valid MCUboot header.",
        "INVALID_TLV_INFO_MAGIC": "The image is damaged: its TLV area is unreadable.",
    }
    stranger = "No registered trust key has signed this image. Sign it with a registered key."
    raise RefusedBundleError(sentences.get(outcome, stranger), outcome=outcome)


def _outcome(image: Path, key_file: Path) -> str:
    try:
        result = Image.verify(str(image), keys.load(str(key_file)))[0]
    except (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError):
        return "INVALID_SIGNATURE"
    return str(result.name)


def _facts(protected: list[tuple[int, bytes]]) -> BundleFacts:
    """Return what the signed TLVs say."""
    kinds = [kind for kind, _value in protected]
    if any(kinds.count(kind) > 1 for kind in (_COUNTER, _VENDOR, _CLASS)):
        msg = "The image contains its security counter, vendor or class twice."
        raise RefusedBundleError(msg)
    values = dict(protected)
    counter = values.get(_COUNTER)
    if counter is None or len(counter) != _COUNTER_BYTES:
        msg = "The image has no security counter; sign it with `imgtool sign -s COUNTER`."
        raise RefusedBundleError(msg)
    return {
        "security_counter": struct.unpack("<I", counter)[0],
        "vendor_id": _uuid(values.get(_VENDOR)),
        "class_id": _uuid(values.get(_CLASS)),
        "dependencies": [_dependency(value) for kind, value in protected if kind == _DEPENDENCY],
    }


def _uuid(value: bytes | None) -> str | None:
    if value is None:
        return None
    if len(value) != _UUID_BYTES:
        msg = "The image's vendor or class identifier is not a UUID."
        raise RefusedBundleError(msg)
    return str(uuid.UUID(bytes=value))


def _dependency(value: bytes) -> dict[str, object]:
    if len(value) != _DEPENDENCY_BYTES:
        msg = "The image's dependency is malformed."
        raise RefusedBundleError(msg)
    image, major, minor, revision, build = struct.unpack("<B3xBBHI", value)
    return {"image": image, "least": f"{major}.{minor}.{revision}+{build}"}
