"""Parse the options of the two most frequent CoAP requests without aiocoap. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

URI_HOST, URI_PORT, URI_PATH, ACCEPT, BLOCK2 = 3, 7, 11, 17, 23
ONE_BYTE, TWO_BYTES = 13, 14
#: options that are read, and their least and most bytes (RFC 7252, table 4; RFC 7959, table 1); of ports there is one
LENGTHS = {URI_HOST: (1, 255), URI_PORT: (0, 2), URI_PATH: (0, 255), ACCEPT: (0, 2), BLOCK2: (0, 3)}
#: without the option: the first block, in the largest size
WHOLE = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """Parameters of a GET.

    Args:
        path: segments.
        host: Uri-Host, or "".
        accept: content format, or -1.
        block: block number of Block2, or 0.
        exponent: size exponent of Block2 (RFC 7959, 2.2); 6 when the client does not say.
    """

    path: tuple[bytes, ...]
    host: str
    accept: int
    block: int
    exponent: int


def read_poll_options(data: bytes) -> Asked | None:
    """Return the parameters; None if there is another option or a payload."""
    path, host, accept, bits = [], b"", -1, WHOLE
    last = 0
    for number, value in parse_options(data):
        least, most = LENGTHS.get(number, (1, 0))
        if not least <= len(value) <= most or number == last != URI_PATH:
            return None  # the normal path refuses options that are too long or repeated (RFC 7252, 5.4.5)
        last = number
        if number == URI_PATH:
            path.append(value)
        elif number == URI_HOST:
            host = value
        elif number == ACCEPT:
            accept = int.from_bytes(value, "big")
        elif number == BLOCK2:
            bits = int.from_bytes(value, "big")
    if not host.isascii():
        return None
    return Asked(tuple(path), host.decode("ascii").strip("[]"), accept, bits >> 4, bits & 7)


def parse_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each option (RFC 7252, 3.1); -1 for malformed options or a payload."""
    number, at = 0, 0
    while at < len(data):
        delta, length = data[at] >> 4, data[at] & 15
        delta, at = _extended(data, at + 1, delta)
        length, at = _extended(data, at, length)
        value = data[at : at + length] if length >= 0 else b""
        if delta < 0 or len(value) != length:
            yield -1, b""
            return
        number += delta
        at += length
        yield number, value


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < ONE_BYTE:
        return nibble, at
    size = nibble - ONE_BYTE + 1
    more = data[at : at + size]
    if nibble > TWO_BYTES or len(more) != size:
        return -1, at
    return int.from_bytes(more, "big") + (ONE_BYTE if size == 1 else 269), at + size
