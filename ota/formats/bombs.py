"""Measure how large compressed content becomes, while it streams and without keeping any of it.

A small file can unpack to far more than a device, or this server, has room for. The rules are the same for every
format; ``docs/reference/unpacking.md`` states them for users:

- what unpacks to at most ``FREE`` bytes is accepted however well it compresses: uncompressed it might be as long;
- beyond that an artefact may unpack to ``MOST_RATIO`` times its own size, and to ``MOST_UNPACKED`` bytes at most;
- compression inside compression is followed ``MOST_LAYERS`` deep.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import zstandard

from ota.errors import RefusedBundleError

FREE = 512 << 20
MOST_RATIO = 100
MOST_UNPACKED = 8 << 30
MOST_LAYERS = 3
CHUNK = 1 << 16
#: memory that one decoder may take for its dictionary, in bytes
MEMORY = 256 << 20
#: bytes that identify a compression or an archive
HEAD = 512
_MIB = 1 << 20
_FOLLOWED = "other bytes follow the compressed stream"
_BROKEN = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError, RuntimeError, ValueError)


class Readable(Protocol):
    """Anything that gives its bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes; none at the end."""


class Decoder(Protocol):
    """A decoder of one frame, as ``bz2``, ``lzma`` and ``lz4`` have it."""

    @property
    def eof(self) -> bool:
        """Return whether the frame has ended."""

    @property
    def needs_input(self) -> bool:
        """Return whether nothing more comes out before something is put in."""

    @property
    def unused_data(self) -> bytes | None:
        """Return what follows the frame."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take some input and return some output."""


class UnpackingBudget:
    """What one artefact may unpack to, in all its parts and layers together.

    Args:
        packed: size of the artefact, in bytes.
    """

    def __init__(self, packed: int) -> None:
        self.most, self.spent = allowed_size(packed), 0

    def spend(self, size: int, what: str) -> None:
        """Count bytes that came out.

        Raises:
            RefusedBundleError: there are too many.
        """
        self.spent += size
        if self.spent > self.most:
            msg = (
                f"{what} unpacks to more than the {self.most // _MIB} MiB that an artefact of this size may unpack to "
                f"({FREE // _MIB} MiB, or {MOST_RATIO} times its size up to {MOST_UNPACKED // _MIB} MiB). "
                "Ship less in one artefact, or ship it uncompressed."
            )
            raise RefusedBundleError(msg)


def allowed_size(packed: int) -> int:
    """Return how many bytes an artefact of a size may unpack to."""
    return min(MOST_UNPACKED, max(FREE, packed * MOST_RATIO))


class _Gzip:
    """``zlib`` with the interface of the other decoders."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Frames:
    """One frame after another, until the file ends.

    Args:
        file: compressed.
        magic: how each frame begins.
        make: a decoder of one frame.
        alone: whether nothing at all may follow the first frame.
    """

    def __init__(self, file: Readable, magic: bytes, make: Callable[[], Decoder], *, alone: bool = False) -> None:
        self._file, self._magic, self._make, self._alone = file, magic, make, alone
        self._decoder, self._ahead = make(), b""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes.

        Raises:
            EOFError: the file ends inside a frame.
            ValueError: something else than a frame follows one.
        """
        while True:
            if self._decoder.eof and not self._next_frame():
                return b""
            data = b""
            if self._decoder.needs_input:
                data, self._ahead = self._ahead or self._file.read(CHUNK), b""
                if not data:
                    message = "the compressed stream is truncated"
                    raise EOFError(message)
            if out := self._decoder.decompress(data, size):
                return out

    def _next_frame(self) -> bool:
        """Begin the frame that follows; False when there is none. Zeros may pad the file."""
        rest = self._decoder.unused_data or b""
        if self._alone and (rest or self._file.read(1)):
            raise ValueError(_FOLLOWED)
        rest = rest.lstrip(b"\0")
        while len(rest) < len(self._magic):
            more = self._file.read(CHUNK)
            if not more:
                break
            rest = (rest + more).lstrip(b"\0") if not rest else rest + more
        if not rest:
            return False
        if not rest.startswith(self._magic):
            raise ValueError(_FOLLOWED)
        self._decoder, self._ahead = self._make(), rest
        return True


def _zstd(file: Readable) -> Readable:
    reader = zstandard.ZstdDecompressor(max_window_size=MEMORY)
    return reader.stream_reader(file, read_across_frames=True)  # type: ignore[arg-type]  # it reads, and nothing else


def _frames(magic: bytes, make: Callable[[], Decoder]) -> Callable[[Readable], Readable]:
    return lambda file: _Frames(file, magic, make)


def _lzma() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_AUTO, MEMORY)


_GZIP, _BZIP2, _XZ, _LZMA = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"]\0\0"
_LZ4, _ZSTD = b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"
#: compression, how its files begin, and what unpacks them
_MEASURED: tuple[tuple[str, bytes, Callable[[Readable], Readable]], ...] = (
    ("gzip", _GZIP, _frames(_GZIP, _Gzip)),
    ("bzip2", _BZIP2, _frames(_BZIP2, bz2.BZ2Decompressor)),
    ("xz", _XZ, _frames(_XZ, _lzma)),
    ("lzma", _LZMA, _frames(_LZMA, _lzma)),
    ("lz4", _LZ4, _frames(_LZ4, lz4.frame.LZ4FrameDecompressor)),
    ("zstd", _ZSTD, _zstd),
)
#: what SWUpdate itself unpacks: it stops after one member, and what follows would not be installed
ONE_GZIP = "gzip of one member"
#: compressions that libarchive unpacks on devices and nothing here measures
_UNMEASURED: tuple[tuple[str, bytes], ...] = (
    ("lzip", b"LZIP"),
    ("lzop", b"\x89LZO"),
    ("compress", b"\x1f\x9d"),
    ("lrzip", b"LRZI"),
    ("legacy lz4", b"\x02\x21\x4c\x18"),
    ("grzip", b"GRZipII"),
    ("RPM", b"\xed\xab\xee\xdb"),
    ("uuencode", b"begin "),
    *(("skippable frames", bytes([0x50 + number]) + b"\x2a\x4d\x18") for number in range(16)),
)
MEASURED_NAMES = "gzip, bzip2, xz, lzma, lz4 or zstd"


def _unpacker(compression: str) -> Callable[[Readable], Readable]:
    if compression == ONE_GZIP:
        return lambda file: _Frames(file, _GZIP, _Gzip, alone=True)
    return next(make for name, _, make in _MEASURED if name == compression)


def compression_of(head: bytes) -> str | None:
    """Return the compression that content begins with, when it is one that can be measured here."""
    return next((name for name, magic, _ in _MEASURED if head.startswith(magic)), None)


def demand_measurable(head: bytes, what: str) -> None:
    """Refuse a compression that devices unpack and that cannot be measured here.

    Raises:
        RefusedBundleError: it names the compression.
    """
    for name, magic in _UNMEASURED:
        if head.startswith(magic):
            msg = (
                f"{what} is packed with {name}, whose unpacked size cannot be measured. Pack it with {MEASURED_NAMES}."
            )
            raise RefusedBundleError(msg)


class Peekable:
    """A stream whose first block can be looked at before it is read.

    Args:
        stream: anything that reads.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream, self.head = stream, b""
        while len(self.head) < HEAD and (more := stream.read(HEAD - len(self.head))):
            self.head += more
        self._ahead = self.head

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._stream.read(size)


class Unpacked:
    """A compressed file as what it unpacks to, counted against a budget.

    Args:
        file: compressed.
        compression: as ``compression_of`` names it, or ``ONE_GZIP``.
        budget: of the artefact.
        what: for the sentence.
    """

    def __init__(self, file: Readable, compression: str, budget: UnpackingBudget, what: str) -> None:
        make = _unpacker(compression)
        self._stream, self._budget, self._what = make(file), budget, what
        self._compression = compression

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes.

        Raises:
            RefusedBundleError: the stream is damaged, or unpacks to more than the budget allows.
        """
        try:
            data = self._stream.read(CHUNK if size < 0 else min(size, CHUNK))
        except _BROKEN as error:
            msg = f"{self._what} is not a complete {self._compression} stream: {str(error)[:100]}. Pack it again."
            raise RefusedBundleError(msg) from error
        self._budget.spend(len(data), self._what)
        return data

    def drain(self) -> int:
        """Read to the end, so that the stream's own checksums are compared; return how much came.

        Raises:
            RefusedBundleError: it is damaged or too large.
        """
        came = 0
        while data := self.read(CHUNK):
            came += len(data)
        return came


def measured_size(file: Readable, budget: UnpackingBudget, what: str) -> int | None:
    """Return what a file unpacks to when it begins like something compressed; None when it does not, or is damaged.

    For content that a device's tool does not unpack by itself: a script may.

    Raises:
        RefusedBundleError: it unpacks to more than the budget allows.
    """
    ahead = Peekable(file)
    compression = compression_of(ahead.head)
    if compression is None:
        return None
    stream, came = _unpacker(compression)(ahead), 0
    try:
        while data := stream.read(CHUNK):
            came += len(data)
            budget.spend(len(data), what)
    except _BROKEN:
        return None  # it only begins like a compressed stream: what was unpacked so far has been counted
    return came
