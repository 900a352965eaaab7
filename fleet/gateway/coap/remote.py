"""Base class of the peers of a datagram socket, as aiocoap addresses them."""

from aiocoap import interfaces
from aiocoap.numbers import constants
from aiocoap.util import hostportjoin

#: of IPv4, or of IPv6 with flow and scope
SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class CoapRemote(interfaces.EndpointAddress):  # type: ignore[misc]  # aiocoap has no types
    """A peer behind a socket.

    Args:
        hostinfo_local: host and port of the socket.
        address: socket address of the peer.
    """

    is_multicast = False
    is_multicast_locally = False
    scheme = "coap"
    maximum_block_size_exp = constants.MAX_REGULAR_BLOCK_SIZE_EXP

    def __init__(self, hostinfo_local: str, address: SocketAddress) -> None:
        self._hostinfo_local, self._address = hostinfo_local, address

    @property
    def address(self) -> SocketAddress:
        """Return the socket address of the peer."""
        return self._address

    @property
    def hostinfo(self) -> str:
        """Return host and port of the peer."""
        return str(hostportjoin(*self._address[:2]))

    @property
    def hostinfo_local(self) -> str:
        """Return host and port of this server."""
        return self._hostinfo_local

    @property
    def uri_base(self) -> str:
        """Return the beginning of URIs at the peer."""
        return f"{self.scheme}://{self.hostinfo}"

    @property
    def uri_base_local(self) -> str:
        """Return the beginning of URIs at this server."""
        return f"{self.scheme}://{self.hostinfo_local}"
