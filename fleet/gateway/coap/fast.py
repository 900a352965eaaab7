"""The fast path for the most frequent CoAP requests, without aiocoap and threads: idle polls and blocks of files.

All other requests take the normal path. A repeated datagram is processed again without a message id cache, because both
requests are idempotent (RFC 7252, 4.5). A file is served here only for some seconds after the normal path authorized it
for this certificate.
"""

import time
from collections import OrderedDict

from fleet.gateway.coap import options
from fleet.gateway.coap.options import Asked
from fleet.gateway.coap.window import read_piece
from fleet.gateway.poll_cache import Answers, PollCache
from ota.services.downloads import Download
from pki.kernel.coap import TAG

GET, CONTENT = 0x01, 0x45
CONFIRMABLE, NON_CONFIRMABLE, ACKNOWLEDGEMENT = 0, 1, 2
POLL, BLOB = (b"v1", b"poll"), (b"v1", b"blob")
CBOR_FORMAT = 60
#: Content-Format 60; the marker of the payload
POLL_HEAD = b"\xc1\x3c\xff"
MOST_KNOWN = 256
LONGEST = 300
HEADER, LONGEST_TOKEN = 4, 8
#: seconds that an authorization of a file is cached, and largest number of them
ALLOWED_SECONDS, MOST_ALLOWED = 5.0, 2000
LARGEST_EXPONENT = 6


class FastPath:
    """Answers for one socket.

    Args:
        table: poll cache.
        answers: prepared bodies.
    """

    def __init__(self, table: PollCache, answers: Answers) -> None:
        self.table, self.answers = table, answers
        self._polls: OrderedDict[bytes, str] = OrderedDict()
        self._allowed: OrderedDict[tuple[str, bytes], tuple[float, Download]] = OrderedDict()
        self._next_id = 0

    def answer(self, message: bytes, key: bytes, address: str) -> bytes | None:
        """Return the whole response, or None.

        Args:
            message: one CoAP message.
            key: SHA-256 of the certificate that the transport has verified.
            address: of the peer, for presence.
        """
        if not HEADER <= len(message) <= LONGEST or message[1] != GET:
            return None
        length = message[0] & 15
        token, given = message[HEADER : HEADER + length], message[HEADER + length :]
        if message[0] >> 6 != 1 or message[0] >> 4 & 3 > NON_CONFIRMABLE:
            return None
        if length > LONGEST_TOKEN or len(token) != length:
            return None
        host = self._polls.get(given)
        asked = None if host is not None else options.read_poll_options(given)
        if asked is not None and asked.path == POLL and asked.accept in {-1, CBOR_FORMAT} and not asked.block:
            self._remember(given, asked.host)
            host = asked.host
        if host is not None:
            body = self._poll(key, host, address)
        else:
            body = self._block(asked, key.hex()) if asked is not None else None
        return None if body is None else self._head(message, token) + body

    def allow(self, fingerprint: str, file: Download) -> None:
        """Cache the authorization of a file for a certificate; files in an object store are excluded."""
        if file.path is None:
            return
        self._allowed[fingerprint, file.sha256.encode()] = (time.monotonic() + ALLOWED_SECONDS, file)
        while len(self._allowed) > MOST_ALLOWED:
            self._allowed.popitem(last=False)

    def forget(self, fingerprints: set[str]) -> None:
        """Drop the authorizations of these certificates, because they have changed."""
        for key in [entry for entry in self._allowed if entry[0] in fingerprints]:
            del self._allowed[key]

    def _remember(self, given: bytes, host: str) -> None:
        self._polls[given] = host
        if len(self._polls) > MOST_KNOWN:
            self._polls.popitem(last=False)

    def _poll(self, key: bytes, host: str, address: str) -> bytes | None:
        device = self.table.idle(key, host)
        if not device:
            return None
        self.table.count(device, address)
        return POLL_HEAD + self.answers.next_body()

    def _block(self, asked: Asked, fingerprint: str) -> bytes | None:
        if len(asked.path) != 3 or asked.path[:2] != BLOB or asked.exponent > LARGEST_EXPONENT:  # noqa: PLR2004  because the digest is the third
            return None
        until, file = self._allowed.get((fingerprint, asked.path[2]), (0.0, None))
        start = asked.block << asked.exponent + 4
        if file is None or until < time.monotonic() or start >= file.size:
            return None
        return build_block(file, asked.block, asked.exponent)

    def _head(self, message: bytes, token: bytes) -> bytes:
        if message[0] >> 4 & 3 == CONFIRMABLE:
            return bytes((0x40 | ACKNOWLEDGEMENT << 4 | len(token), CONTENT, message[2], message[3])) + token
        self._next_id = (self._next_id + 1) & 0xFFFF
        return bytes((0x40 | NON_CONFIRMABLE << 4 | len(token), CONTENT)) + self._next_id.to_bytes(2, "big") + token


def cut_block(file: Download, number: int, exponent: int) -> tuple[bytes, bool]:
    """Return the bytes of one block, and whether there are more (RFC 7959, 2.2)."""
    size = 1 << exponent + 4
    data = read_piece(file, number * size, size)
    return data, number * size + len(data) < file.size


def build_block(file: Download, number: int, exponent: int) -> bytes:
    """Return options and payload of one block: ETag, Content-Format 42, Block2 and, with the first, Size2."""
    data, more = cut_block(file, number, exponent)
    value = (number << 4 | more << 3 | exponent).to_bytes(3, "big").lstrip(b"\0")
    options = b"\x48" + bytes.fromhex(file.sha256)[:TAG] + b"\x81\x2a" + bytes((0xB0 | len(value),)) + value
    if not number:
        length = file.size.to_bytes(4, "big").lstrip(b"\0")
        options += bytes((0x50 | len(length),)) + length
    return options + b"\xff" + data
