"""Networks as limits see them, and the address of a client behind a listed proxy."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from pki.kernel.errors import InvalidError

Fields = Iterable[tuple[bytes, bytes]]
#: an attacker owns a whole /64 of IPv6, and a few addresses of IPv4, often next to each other
IPV4_BITS, IPV6_BITS = 24, 64
FORWARDED = b"x-forwarded-for"
#: fields by which proxies say that a request was not made by whoever connected
TRACES = frozenset({FORWARDED, b"forwarded", b"x-real-ip", b"via", b"x-forwarded-host", b"x-forwarded-proto"})


@lru_cache(8192)
def network_of(address: str) -> str:
    """Return the network that an address is counted with: /24 of IPv4, /64 of IPv6.

    An IPv4 address that is written as IPv6 counts as IPv4. What is no address (a Unix socket) is its own network.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    found = getattr(found, "ipv4_mapped", None) or found
    bits = IPV4_BITS if found.version == 4 else IPV6_BITS  # noqa: PLR2004  because it is the version of IP
    shift = found.max_prefixlen - bits
    return f"{int(found) >> shift:x}/{bits}"


class Trusted:
    """The proxies whose word about a client's address is taken.

    Args:
        listed: addresses or networks; none: every connection is the client's own.

    Raises:
        InvalidError: an address makes no sense.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        try:
            self._listed: list[IPv4Network | IPv6Network] = [ip_network(one, strict=False) for one in listed]
        except ValueError as error:
            msg = f"FLEET_PROXIES holds addresses and networks, with commas between: {error}."
            raise InvalidError(msg) from error

    def lists(self, address: str) -> bool:
        """Say whether an address is a listed proxy's."""
        if not self._listed:
            return False
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(found in one for one in self._listed)

    def client_of(self, address: str, fields: Fields) -> str:
        """Return the address of the client: of X-Forwarded-For the last one that is not a listed proxy's.

        Every proxy appends the address of whoever connected to it, so what stands further left was written by others.
        The field counts on connections from listed proxies only.
        """
        if not self.lists(address):
            return address
        named = b",".join(value for name, value in fields if name.lower() == FORWARDED).decode("latin-1")
        for one in reversed(named.split(",")):
            said = one.strip()
            try:
                ip_address(said)
            except ValueError:
                return address
            if not self.lists(said):
                return said
        return address
