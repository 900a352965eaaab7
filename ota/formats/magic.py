"""Tell artefacts apart by their structure, so that one kind is never verified as another. Pure.

One or two magic bytes prove nothing: encrypted data begins with any byte. So ``demand_magic`` asks only whether a file
begins as its declared format does (its verifier reads the rest), and ``kind_of_artefact`` names a kind only when the
structure behind the magic bytes is there as well: less than one of 2^30 random files has it.
"""

import io
import re
import struct
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from ota.errors import RefusedBundleError
from ota.formats import protobuf
from pki.kernel import strict_json
from pki.kernel.errors import InvalidError

_BEGINS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x3d\xb8\xf3\x96", "mcuboot"),
    (4, b"TFL3", "tflite"),
    (0, b"070702", "swu"),
    (110, b"sw-description\0", "swu"),
    (0, b"070701", "a cpio archive without checksums"),
    (0, b"hsqs", "rauc"),
    (0, b"version\0", "mender"),
    (257, b"ustar", "a tar archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b\x08", "a gzip stream"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b":", "Intel HEX text"),
    (0, b"\xe9", "esp"),
)
NAMES = {
    "mcuboot": "an MCUboot image",
    "tflite": "a TensorFlow Lite model",
    "onnx": "an ONNX model",
    "swu": "a SWUpdate archive",
    "rauc": "a RAUC bundle",
    "mender": "a Mender artifact",
    "esp": "an ESP image",
}
#: How many bytes ``demand_magic`` needs.
ENOUGH = 512
_TAR_HEAD = 64 * 1024
_MAX_CMS = 1 << 24
#: DER of a SEQUENCE with a length of one to three bytes, then the OID of signedData or envelopedData (RFC 5652)
_CMS = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x80)\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x02\x03]", re.DOTALL
)
_CPIO_HEAD, _CPIO_NAMES = re.compile(rb"07070[12][0-9A-Fa-f]{104}"), 4096
_ESP_HEAD, _ESP_SEGMENT = struct.Struct("<BBBBIB3sHBHH4sB"), struct.Struct("<II")
_ESP_MAGIC, _ESP_SEED, _ESP_SEGMENTS, _ESP_MODES, _ESP_LONGEST = 0xE9, 0xEF, 16, 5, 64 << 20
_CHUNK = 1 << 16


def kind_of_artefact(file: BinaryIO) -> str | None:
    """Return the format whose structure a file has, a key of ``NAMES``, or None.

    Args:
        file: seekable; its position is not kept.
    """
    size = file.seek(0, 2)
    return next((name for name, has in _STRUCTURES if has(file, size)), None)


def kind_of_bytes(data: bytes) -> str | None:
    """Return what ``kind_of_artefact`` says of a file with this content."""
    return kind_of_artefact(io.BytesIO(data))


def demand_magic(head: bytes, form: str) -> None:
    """Refuse bytes that do not begin as the declared format does.

    Raises:
        RefusedBundleError: it names what the bytes begin as instead.
    """
    kinds = [kind for offset, magic, kind in _BEGINS if head[offset : offset + len(magic)] == magic]
    if form in kinds:
        return
    seen = f"it starts like {NAMES.get(kinds[0], kinds[0])}" if kinds else "its first bytes match no known format"
    msg = f"The file is not {NAMES[form]}: {seen}. Upload the right file or correct `format`."
    raise RefusedBundleError(msg)


def cms_content(data: bytes) -> str | None:
    """Return what a CMS message holds (``signed`` or ``enveloped``), or None when it is no such message."""
    match = _CMS.match(data)
    return {b"\x02": "signed", b"\x03": "enveloped"}[match[0][-1:]] if match else None


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _is_mcuboot(file: BinaryIO, _size: int) -> bool:
    return _at(file, 0, 4) == b"\x3d\xb8\xf3\x96"


def _is_tflite(file: BinaryIO, size: int) -> bool:
    """Look for the identifier, and for the table and its vtable that the root offset leads to."""
    head = _at(file, 0, 8)
    if head[4:] != b"TFL3":
        return False
    root = int.from_bytes(head[:4], "little")
    if not len(head) <= root <= size - 4:
        return False
    vtable = root - int.from_bytes(_at(file, root, 4), "little", signed=True)
    return 0 <= vtable <= size - 4 and 4 <= int.from_bytes(_at(file, vtable, 2), "little") <= size - vtable  # noqa: PLR2004  because a vtable begins with two sizes


def _is_swu(file: BinaryIO, _size: int) -> bool:
    """Look for a cpio header (newc or crc) whose first member is the description."""
    head = _at(file, 0, 110)
    if not _CPIO_HEAD.fullmatch(head):
        return False
    length = int(head[94:102], 16)
    return length < _CPIO_NAMES and _at(file, 110, length).rstrip(b"\0") == b"sw-description"


def _is_rauc(file: BinaryIO, size: int) -> bool:
    """Look for the CMS whose size is in the last eight bytes; the payload before it may be encrypted."""
    length = int.from_bytes(_at(file, max(size - 8, 0), 8), "big")
    return 0 < length <= min(_MAX_CMS, size - 8) and cms_content(_at(file, size - 8 - length, 32)) is not None


def _is_mender(file: BinaryIO, _size: int) -> bool:
    """Look for a tar archive whose first file is ``version`` and names the format."""
    try:
        with tarfile.open(fileobj=io.BytesIO(_at(file, 0, _TAR_HEAD)), mode="r|") as archive:
            first = archive.next()
            content = archive.extractfile(first) if first and first.name == "version" else None
            document = strict_json.read_json(content.read(4096), max_bytes=4096) if content else None
    except (tarfile.TarError, OSError, InvalidError):
        return False
    return isinstance(document, dict) and document.get("format") == "mender"


def _is_esp(file: BinaryIO, size: int) -> bool:
    """Look for header, segments and checksum as the bootloader reads them (ESP-IDF, "App Image Format")."""
    head = _at(file, 0, _ESP_HEAD.size)
    if len(head) < _ESP_HEAD.size:
        return False
    number, segments, mode, *_, hashed = _ESP_HEAD.unpack(head)
    if number != _ESP_MAGIC or not 0 < segments <= _ESP_SEGMENTS or mode > _ESP_MODES or hashed not in {0, 1}:
        return False
    at, checksum = _ESP_HEAD.size, _ESP_SEED
    for _ in range(segments):
        entry = _at(file, at, _ESP_SEGMENT.size)
        length = _ESP_SEGMENT.unpack(entry)[1] if len(entry) == _ESP_SEGMENT.size else size
        if length % 4 or at + _ESP_SEGMENT.size + length > min(size, _ESP_LONGEST):
            return False
        checksum ^= _xor(file, length)
        at += _ESP_SEGMENT.size + length
    return _at(file, at | 15, 1) == bytes([checksum])


def _xor(file: BinaryIO, length: int) -> int:
    """Return the exclusive or of the next bytes of a file, a chunk at a time."""
    folded = 0
    while length:
        data = file.read(min(length, _CHUNK))
        folded ^= int.from_bytes(data.ljust(_CHUNK, b"\0"))
        length -= min(length, _CHUNK)
    width = _CHUNK * 8
    while width > 8:  # noqa: PLR2004  because one byte is left
        width //= 2
        folded = (folded >> width) ^ (folded & ((1 << width) - 1))
    return folded


def _is_onnx(file: BinaryIO, size: int) -> bool:
    return protobuf.is_onnx(file, size)


_STRUCTURES: tuple[tuple[str, Callable[[BinaryIO, int], bool]], ...] = (
    ("mcuboot", _is_mcuboot),
    ("tflite", _is_tflite),
    ("swu", _is_swu),
    ("mender", _is_mender),
    ("esp", _is_esp),
    ("rauc", _is_rauc),
    ("onnx", _is_onnx),
)
