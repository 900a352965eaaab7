"""One DTLS 1.2 association with one peer (RFC 6347): OpenSSL over memory buffers.

Nothing here waits or touches a socket. A peer costs nothing before it has sent back its cookie: until then an
association is made for one datagram and dropped with it.
"""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from pki.kernel.dtls import CIPHERTEXT_MTU, RECORD_HEADER, split_records

HANDSHAKE, CLIENT_HELLO = 22, 1


class HandshakeState(Enum):
    """The state of an association."""

    LISTENING = "listening"
    SHAKING = "shaking"
    OPEN = "open"
    CLOSED = "closed"


class Association:
    """The OpenSSL state of one peer.

    Args:
        context: context of the server, with its certificate and the trust anchors.
        address: address of the peer, bound by the cookie.
    """

    __slots__ = ("_connection", "certificate", "fingerprint", "forgotten", "key", "state")

    def __init__(self, context: SSL.Context, address: bytes) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._connection.set_ciphertext_mtu(CIPHERTEXT_MTU)
        self._connection.set_app_data(address)
        self.state = HandshakeState.LISTENING
        self.fingerprint, self.forgotten = "", False
        self.certificate = self.key = b""

    def receive(self, datagram: bytes) -> list[bytes]:
        """Process a datagram. Return its application data; ``outgoing`` then yields the records to send."""
        try:
            self._connection.bio_write(datagram)
            if self.state is HandshakeState.LISTENING:
                self._listen()
            if self.state is HandshakeState.SHAKING:
                self._shake()
            return self._read() if self.state is HandshakeState.OPEN else []
        except SSL.WantReadError:
            return []
        except SSL.Error:
            self.state = HandshakeState.CLOSED
            return []

    def send(self, plaintext: bytes) -> None:
        """Encrypt one message; ``outgoing`` then yields it."""
        if self.forgotten:
            return
        try:
            self._connection.send(plaintext)
        except SSL.Error:
            self.state = HandshakeState.CLOSED

    def outgoing(self) -> Iterator[bytes]:
        """Yield the outgoing data, one record per datagram."""
        data = b""
        try:
            while not self.forgotten:
                data += self._connection.bio_read(65536)
        except SSL.WantReadError:
            pass
        yield from split_records(data)

    def timeout(self) -> float | None:
        """Return the seconds until the handshake retransmits its last flight, or None without a flight."""
        return self._connection.DTLSv1_get_timeout()

    def late(self) -> None:
        """Retransmit the last flight of the handshake; ``outgoing`` then yields it."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.state = HandshakeState.CLOSED

    def close(self) -> None:
        """Send close_notify; ``outgoing`` then yields the alert."""
        if self.state is HandshakeState.OPEN:
            with suppress(SSL.Error):
                self._connection.shutdown()
        self.state = HandshakeState.CLOSED

    def forget(self) -> None:
        """Free the OpenSSL objects, because aiocoap may keep the remote for minutes."""
        self.state, self.forgotten = HandshakeState.CLOSED, True
        del self._connection

    def _listen(self) -> None:
        self._connection.DTLSv1_listen()
        self.state = HandshakeState.SHAKING

    def _shake(self) -> None:
        self._connection.do_handshake()
        leaf = self._connection.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            self.state = HandshakeState.CLOSED
            return
        self.certificate = leaf.public_bytes(Encoding.DER)
        self.key = hashlib.sha256(self.certificate).digest()
        self.fingerprint = self.key.hex()
        self.state = HandshakeState.OPEN

    def _read(self) -> list[bytes]:
        messages: list[bytes] = []
        while True:
            try:
                messages.append(self._connection.recv(65536))
            except SSL.WantReadError:
                return messages
            except SSL.ZeroReturnError:
                self.state = HandshakeState.CLOSED
                return messages


def begins_association(datagram: bytes) -> bool:
    """Return whether a datagram starts a new association: a ClientHello in epoch 0."""
    return (
        len(datagram) > RECORD_HEADER
        and datagram[0] == HANDSHAKE
        and datagram[3:5] == b"\0\0"
        and datagram[RECORD_HEADER] == CLIENT_HELLO
    )


def set_cookies(secret: bytes, context: SSL.Context) -> None:
    """Configure cookies that bind the client's address, so that spoofed hellos leave no state."""

    def cookie(connection: SSL.Connection) -> bytes:
        return hmac.digest(secret, bytes(connection.get_app_data()), "sha256")

    context.set_cookie_generate_callback(cookie)
    context.set_cookie_verify_callback(lambda connection, given: hmac.compare_digest(cookie(connection), given))
