"""DTLS 1.2 of a device: the steps of an association, and one association over a blocking UDP socket."""

import ipaddress
import time
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from fleet.agent.errors import TransportError
from fleet.agent.steps import Steps, drive_blocking
from fleet.agent.udp import MOST_DATAGRAM, ServerDatagrams
from pki.kernel.dtls import CIPHERTEXT_MTU, NO_QUERY_MTU, split_records

HANDSHAKE_SECONDS = 20.0
CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-CCM"


class ClientAssociation:
    """An open association.

    Args:
        address: host name and port.
        anchor: PEM file of the only trusted roots.
        identity: certificate chain and key files.

    Raises:
        TransportError: the server does not answer, or is not trusted.
    """

    def __init__(self, address: tuple[str, int], anchor: Path, identity: tuple[Path, Path]) -> None:
        self._line = client_connection(anchor, identity)
        self._socket = ServerDatagrams(*address)
        if not _is_address(address[0]):
            self._line.set_tlsext_host_name(address[0].encode())
        try:
            drive_blocking(self._socket, dtls_handshake(self._line))
            self._check_name(address[0])
        except (SSL.Error, OSError, TransportError) as error:
            self._socket.close()
            msg = f"{address[0]} cannot be reached: {error or type(error).__name__}"
            raise TransportError(msg) from error

    def send(self, message: bytes) -> None:
        """Send one message."""
        drive_blocking(self._socket, dtls_send(self._line, message))

    def receive(self, until: float) -> bytes | None:
        """Return the next message, or None after the deadline (monotonic seconds)."""
        return drive_blocking(self._socket, dtls_receive(self._line, until))

    def close(self) -> None:
        """Send close_notify and close the socket."""
        with suppress(SSL.Error, OSError):
            self._line.shutdown()
            drive_blocking(self._socket, _flushed(self._line))
        self._socket.close()

    def _check_name(self, host: str) -> None:
        leaf = self._line.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            msg = "the server presented no certificate"
            raise TransportError(msg)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if _is_address(host):
            known = ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
        else:
            known = host.lower() in {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        if not known:
            msg = f"the server's certificate is not for {host}"
            raise TransportError(msg)


def client_connection(anchor: Path, identity: tuple[Path, Path]) -> SSL.Connection:
    """Return a client connection over memory buffers, before the handshake.

    Args:
        anchor: PEM file of the only trusted roots.
        identity: certificate chain and key files.
    """
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_options(NO_QUERY_MTU | SSL.OP_NO_TLSv1)
    context.set_cipher_list(CIPHERS)
    context.load_verify_locations(str(anchor))
    context.use_certificate_chain_file(str(identity[0]))
    context.use_privatekey_file(str(identity[1]))
    context.set_verify(SSL.VERIFY_PEER)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    connection.set_ciphertext_mtu(CIPHERTEXT_MTU)
    return connection


def dtls_handshake(line: SSL.Connection) -> Steps[None]:
    """Perform the handshake of a client connection; retransmit flights that are lost.

    Raises:
        TransportError: it did not finish in 20 seconds.
    """
    until = time.monotonic() + HANDSHAKE_SECONDS
    while True:
        with suppress(SSL.WantReadError):
            line.do_handshake()
            yield from _flushed(line)
            return
        yield from _flushed(line)
        wait = line.DTLSv1_get_timeout()
        data = yield min(until, time.monotonic() + (1.0 if wait is None else wait) + 0.01)
        if data is not None:
            line.bio_write(data)
        elif time.monotonic() >= until:
            msg = "the DTLS handshake timed out"
            raise TransportError(msg)
        else:
            line.DTLSv1_handle_timeout()
            yield from _flushed(line)


def dtls_send(line: SSL.Connection, message: bytes) -> Steps[None]:
    """Encrypt and send one message."""
    line.send(message)
    yield from _flushed(line)


def dtls_receive(line: SSL.Connection, until: float) -> Steps[bytes | None]:
    """Return the next message, or None after the deadline (monotonic seconds)."""
    while True:
        with suppress(SSL.WantReadError):
            return line.recv(MOST_DATAGRAM)
        if (data := (yield until)) is None:
            return None
        line.bio_write(data)


def _flushed(line: SSL.Connection) -> Steps[None]:
    """Send what the connection has to send, one record per datagram."""
    data = b""
    with suppress(SSL.WantReadError):
        while True:
            data += line.bio_read(MOST_DATAGRAM)
    yield from split_records(data)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
