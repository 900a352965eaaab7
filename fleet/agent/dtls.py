"""One DTLS 1.2 association with the server over a blocking UDP socket, as on a small device."""

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from fleet.agent.errors import TransportError
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
        self._socket = reached(*address)
        if not _is_address(address[0]):
            self._line.set_tlsext_host_name(address[0].encode())
        try:
            self._shake()
            self._check_name(address[0])
        except (SSL.Error, OSError, TransportError) as error:
            self._socket.close()
            msg = f"{address[0]} cannot be reached: {error or type(error).__name__}"
            raise TransportError(msg) from error

    def send(self, message: bytes) -> None:
        """Send one message."""
        self._line.send(message)
        self._flush()

    def receive(self, until: float) -> bytes | None:
        """Return the next message, or None after the deadline (monotonic seconds)."""
        while True:
            with suppress(SSL.WantReadError):
                return self._line.recv(65536)
            if not self._take(until):
                return None

    def close(self) -> None:
        """Send close_notify and close the socket."""
        with suppress(SSL.Error, OSError):
            self._line.shutdown()
            self._flush()
        self._socket.close()

    def _shake(self) -> None:
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        while True:
            try:
                self._line.do_handshake()
            except SSL.WantReadError:
                self._flush()
            else:
                self._flush()
                return
            wait = self._line.DTLSv1_get_timeout()
            if not self._take(min(deadline, time.monotonic() + (1.0 if wait is None else wait) + 0.01)):
                if time.monotonic() >= deadline:
                    msg = "the DTLS handshake timed out"
                    raise TransportError(msg)
                self._line.DTLSv1_handle_timeout()
                self._flush()

    def _take(self, until: float) -> bool:
        """Read one datagram. Return whether one arrived in time."""
        left = until - time.monotonic()
        if left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            self._line.bio_write(self._socket.recv(65536))
        except TimeoutError:
            return False
        return True

    def _flush(self) -> None:
        for datagram in records(self._line):
            self._socket.send(datagram)

    def _check_name(self, host: str) -> None:
        leaf = self._line.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            msg = "the server presented no certificate"
            raise TransportError(msg)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if _is_address(host):
            known = ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
        else:
            known = host.lower() in {one.lower() for one in names.get_values_for_type(x509.DNSName)}
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
    made = SSL.Connection(context, None)
    made.set_connect_state()
    made.set_ciphertext_mtu(CIPHERTEXT_MTU)
    return made


def records(line: SSL.Connection) -> Iterator[bytes]:
    """Yield the outgoing records of a connection over memory buffers, one per datagram."""
    data = b""
    with suppress(SSL.WantReadError):
        while True:
            data += line.bio_read(65536)
    yield from split_records(data)


def reached(host: str, port: int) -> socket.socket:
    """Return a UDP socket connected to the server.

    Raises:
        TransportError: the host name cannot be resolved.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        made = socket.socket(family, kind, number)
        made.connect(address)
    except OSError as error:
        msg = f"{host} cannot be reached: {error}"
        raise TransportError(msg) from error
    return made


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
