"""From which part of the network a device speaks: prefixes, since addresses change without meaning anything. Pure."""

import ipaddress

#: what a household or a site is usually given: a device moves within it freely
V4_BITS, V6_BITS = 24, 48


def network_prefix(address: str) -> str:
    """Return the network of an address, ``10.1.2.0/24`` or ``2001:db8:1::/48``; empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    bits = V4_BITS if parsed.version == 4 else V6_BITS  # noqa: PLR2004  because IP has versions 4 and 6
    return str(ipaddress.ip_network((parsed, bits), strict=False))
