"""Frames on the signer's socket: four bytes of length, big-endian, then one CBOR map."""

import socket
import struct
from typing import Any

import cbor2

from pki.kernel.errors import InvalidError

MAX_FRAME = 256 * 1024


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    data = cbor2.dumps(message)
    connection.sendall(struct.pack(">I", len(data)) + data)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Return the next message, or None when the other side has closed between two of them.

    Raises:
        InvalidError: the frame is too long, cut off, or no CBOR map with text keys.
    """
    head = _exactly(connection, 4)
    if head is None:
        return None
    (length,) = struct.unpack(">I", head)
    if length > MAX_FRAME:
        msg = f"A frame of {length} bytes is refused; at most {MAX_FRAME}."
        raise InvalidError(msg)
    data = _exactly(connection, length)
    if data is None:
        msg = "The connection ended within a frame."
        raise InvalidError(msg)
    try:
        message = cbor2.loads(data)
    except (ValueError, EOFError, RecursionError, TypeError) as error:
        msg = "The frame is not CBOR."
        raise InvalidError(msg) from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        msg = "The frame is not a map with text keys."
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
