"""Networks for rate limits, and the address of a client behind a listed proxy."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from pki.kernel.errors import InvalidError

Fields = Iterable[tuple[bytes, bytes]]
#: an attacker has a whole IPv6 /64, but only a few IPv4 addresses, often adjacent
IPV4_BITS, IPV6_BITS = 24, 64
FORWARDED = b"x-forwarded-for"
#: header fields with which proxies name the original client
TRACES = frozenset({FORWARDED, b"forwarded", b"x-real-ip", b"via", b"x-forwarded-host", b"x-forwarded-proto"})


@lru_cache(8192)
def network_of(address: str) -> str:
    """Return the network of an address for rate limits: /24 for IPv4, /64 for IPv6.

    An IPv4-mapped IPv6 address counts as IPv4. Anything else (a Unix socket) is its own network.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    bits = IPV4_BITS if parsed.version == 4 else IPV6_BITS  # noqa: PLR2004  because it is the version of IP
    shift = parsed.max_prefixlen - bits
    return f"{int(parsed) >> shift:x}/{bits}"


class Trusted:
    """The proxies that are trusted to report a client's address.

    Args:
        listed: addresses or networks; empty if clients connect directly.

    Raises:
        InvalidError: an address is malformed.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        try:
            self._listed: list[IPv4Network | IPv6Network] = [ip_network(network, strict=False) for network in listed]
        except ValueError as error:
            msg = f"FLEET_PROXIES must be a comma-separated list of addresses and networks: {error}."
            raise InvalidError(msg) from error

    def lists(self, address: str) -> bool:
        """Return whether an address belongs to a listed proxy."""
        if not self._listed:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self._listed)

    def client_of(self, address: str, fields: Fields) -> str:
        """Return the address of the client: the last one in X-Forwarded-For that is not a listed proxy.

        Every proxy appends the address of its client, so clients can forge the addresses further left. The field
        counts only on connections from listed proxies.
        """
        if not self.lists(address):
            return address
        named = b",".join(value for name, value in fields if name.lower() == FORWARDED).decode("latin-1")
        for part in reversed(named.split(",")):
            said = part.strip()
            try:
                ip_address(said)
            except ValueError:
                return address
            if not self.lists(said):
                return said
        return address
