"""Tell artefacts apart by their first bytes, so that one kind is never judged as another. Pure."""

from ota.errors import RefusedBundleError

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x3d\xb8\xf3\x96", "mcuboot"),
    (4, b"TFL3", "tflite"),
    (0, b"070702", "swu"),
    (0, b"070701", "a cpio archive without checksums"),
    (0, b"hsqs", "rauc"),
    (0, b"version\0", "mender"),
    (257, b"ustar", "a tar archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip stream"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b":", "Intel HEX text"),
    (0, b"\xe9", "esp"),
)
NAMES = {
    "mcuboot": "an MCUboot image",
    "tflite": "a TensorFlow Lite model",
    "swu": "a SWUpdate archive",
    "rauc": "a RAUC bundle",
    "mender": "a Mender artifact",
    "esp": "an ESP image",
}
#: How many bytes are needed to tell.
ENOUGH = 512


def kind_of(head: bytes) -> str | None:
    """Return the format, or a description of what else it is, or None when nothing is known."""
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None


def demand(head: bytes, wanted: str) -> None:
    """Refuse bytes that do not begin as the declared format does.

    Raises:
        RefusedBundleError: it names what the bytes are instead.
    """
    found = kind_of(head)
    if found == wanted:
        return
    seen = f"it is {NAMES.get(found, found)}" if found else "its first bytes are of no known format"
    msg = f"The file is not {NAMES[wanted]}: {seen}. Upload the right file or correct `format`."
    raise RefusedBundleError(msg)
