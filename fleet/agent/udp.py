"""A blocking UDP socket to one server."""

import socket
import time

from fleet.agent.errors import TransportError

MOST_DATAGRAM = 65_536


class ServerDatagrams:
    """A UDP socket connected to the server.

    Args:
        host: host name or address.
        port: UDP port.

    Raises:
        TransportError: the host name cannot be resolved.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, number)
            self._socket.connect(address)
        except OSError as error:
            msg = f"{host} cannot be reached: {error}"
            raise TransportError(msg) from error

    def send(self, message: bytes) -> None:
        """Send one datagram."""
        self._socket.send(message)

    def receive(self, until: float) -> bytes | None:
        """Return the next datagram, or None after the deadline (monotonic seconds)."""
        left = until - time.monotonic()
        if left <= 0:
            return None
        self._socket.settimeout(left)
        try:
            return self._socket.recv(MOST_DATAGRAM)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
