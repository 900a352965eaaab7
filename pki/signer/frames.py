"""Frames on the signer's socket: four bytes of length, big-endian, then one CBOR map."""

import socket
import struct
from collections.abc import Mapping

from pki.kernel import cbor
from pki.kernel.errors import InvalidError

#: one shard of five million revocations fits
MAX_FRAME = 1 << 20
#: Before a client has proved its role, no more than this is read.
MAX_HELLO = 1024


def send_message(connection: socket.socket, message: Mapping[str, object]) -> None:
    """Send one message."""
    data = cbor.dumps(message)
    connection.sendall(struct.pack(">I", len(data)) + data)


def receive_frame(connection: socket.socket, longest: int = MAX_FRAME) -> dict[str, object] | None:
    """Return the next message, or None when the other side has closed between two of them.

    Args:
        connection: to read from.
        longest: bytes of the largest frame that is read.

    Raises:
        InvalidError: the frame is too long, cut off, or no CBOR map with text keys.
    """
    head = _exactly(connection, 4)
    if head is None:
        return None
    (length,) = struct.unpack(">I", head)
    if length > longest:
        msg = f"The frame has {length} bytes; the maximum is {longest}."
        raise InvalidError(msg)
    data = _exactly(connection, length)
    if data is None:
        msg = "The connection ended within a frame."
        raise InvalidError(msg)
    return _message(data)


def _message(data: bytes) -> dict[str, object]:
    message = cbor.loads(data, max_bytes=MAX_FRAME)
    if not isinstance(message, dict):
        msg = "The frame is not a map."
        raise InvalidError(msg)
    return message


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(65536, length - len(parts)))
        if not part:
            if parts:
                msg = "The connection ended within a frame."
                raise InvalidError(msg)
            return None
        parts += part
    return bytes(parts)
