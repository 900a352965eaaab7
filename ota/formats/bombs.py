"""How large a compressed stream becomes, found out without keeping any of it."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from ota.errors import RefusedBundleError

MOST_RATIO, SLACK, CHUNK = 100, 1 << 20, 1 << 16
_READERS: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"\x78", lambda: zlib.decompressobj(15)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)


def demand_bounded(data: bytes, what: str) -> None:
    """Refuse a compressed stream that unpacks to far more than it is; other bytes pass.

    Raises:
        RefusedBundleError: it is a bomb.
    """
    make = next((make for magic, make in _READERS if data.startswith(magic)), None)
    if make is None:
        return
    reader, came, limit = make(), 0, len(data) * MOST_RATIO + SLACK
    try:
        for at in range(0, len(data), CHUNK):
            came += _drain(reader, data[at : at + CHUNK], limit - came)
            if came > limit:
                msg = f"{what} unpacks to more than {MOST_RATIO} times its size and is refused."
                raise RefusedBundleError(msg)
            if reader.eof:
                return
    except (zlib.error, OSError, lzma.LZMAError, EOFError):
        return  # it only begins like a compressed stream; nobody will unpack it


def _drain(reader: Any, chunk: bytes, room: int) -> int:
    """Feed one chunk; return how much came out, stopping soon above the room that is left."""
    came = len(reader.decompress(chunk, CHUNK))
    while not reader.eof and came <= room:
        rest = getattr(reader, "unconsumed_tail", b"")
        more = reader.decompress(rest, CHUNK)
        if not more:
            break
        came += len(more)
    return came
