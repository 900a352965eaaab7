"""The self-test of a new image before it is confirmed."""

import hashlib
import struct

from fleet.agent.errors import RefusedError

_MCUBOOT_MAGIC = 0x96F3B83D
_MCUBOOT_HEADER = struct.Struct("<IIHHIIBBHII")
_TLV_INFO = 0x6907
_TLV_SHA256 = 0x10


def check_image(component: str, data: bytes) -> None:
    """Test an image like the boot loader does.

    Raises:
        RefusedError: the image cannot start.
    """
    if component.startswith("model"):
        if data[4:8] != b"TFL3":
            msg = f"self-test: {component} is not a TensorFlow Lite model"
            raise RefusedError(msg)
        return
    _mcuboot(component, data)


def _mcuboot(component: str, data: bytes) -> None:
    if len(data) < _MCUBOOT_HEADER.size:
        msg = f"self-test: {component} is shorter than an image header"
        raise RefusedError(msg)
    magic, _, header, protected, size, *_ = _MCUBOOT_HEADER.unpack_from(data)
    covered = header + size + protected
    if magic != _MCUBOOT_MAGIC or covered + 4 > len(data):
        msg = f"self-test: {component} is not a complete MCUboot image"
        raise RefusedError(msg)
    if hashlib.sha256(data[:covered]).digest() != _tlv(data, covered, _TLV_SHA256):
        msg = f"self-test: the hash inside {component} does not match it"
        raise RefusedError(msg)


def _tlv(data: bytes, offset: int, wanted: int) -> bytes:
    magic, total = struct.unpack_from("<HH", data, offset)
    end = min(offset + total, len(data))
    offset += 4
    while magic == _TLV_INFO and offset + 4 <= end:
        kind, length = struct.unpack_from("<HH", data, offset)
        if kind == wanted:
            return data[offset + 4 : offset + 4 + length]
        offset += 4 + length
    return b""
