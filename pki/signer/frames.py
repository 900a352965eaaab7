"""Frames on the signer's socket: four bytes of length, big-endian, then one CBOR map."""

import socket
import struct
from typing import Any

import cbor2

from pki.kernel.errors import InvalidError

MAX_FRAME = 256 * 1024
#: Before a client has proved its role, no more than this is read.
MAX_HELLO = 1024


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    data = cbor2.dumps(message)
    connection.sendall(struct.pack(">I", len(data)) + data)


def receive(connection: socket.socket, longest: int = MAX_FRAME) -> dict[str, Any] | None:
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
        msg = f"A frame of {length} bytes is refused; at most {longest}."
        raise InvalidError(msg)
    data = _exactly(connection, length)
    if data is None:
        msg = "The connection ended within a frame."
        raise InvalidError(msg)
    return _message(data)


def _message(data: bytes) -> dict[str, Any]:
    """Read one CBOR map of plain values: tags would run decoders (dates, patterns, shared parts) that we do not need."""
    reader = io.BytesIO(data)
    try:
        message = cbor2.CBORDecoder(reader, tag_hook=_no_tag).decode()
    except (cbor2.CBORError, ValueError, EOFError, RecursionError, TypeError, OverflowError, MemoryError) as error:
        msg = "The frame is not CBOR."
        raise InvalidError(msg) from error
    if reader.read(1) or not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        msg = "The frame is not one map with text keys."
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
