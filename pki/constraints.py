"""Name constraints (RFC 5280, 4.2.1.10): which names an issuing CA may certify under its root's constraints. Pure.

DNS names and IP addresses are compared, permitted and excluded ones; device certificates have a URN without a host, to
which no URI constraint could apply.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from pki.kernel.errors import InvalidError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Bounds = tuple[tuple[str, ...], tuple[_Network, ...]]


def check_names(parent: x509.Certificate, names: Iterable[x509.GeneralName]) -> None:
    """Refuse names that a CA's certificate does not permit, or excludes.

    Raises:
        InvalidError: it says which name, and what is permitted or excluded.
    """
    permitted, excluded = _bounds(parent, of_permitted=True), _bounds(parent, of_permitted=False)
    for name in names:
        if isinstance(name, x509.DNSName | x509.IPAddress):
            _check_name(name, permitted, excluded)


def _check_name(name: x509.DNSName | x509.IPAddress, permitted: _Bounds, excluded: _Bounds) -> None:
    shown = str(name.value)[:80]
    if _inside(name, excluded):
        msg = f"This CA may not certify {shown!r}: its root excludes {_listed(name, excluded)}."
        raise InvalidError(msg)
    if _listed(name, permitted) and not _inside(name, permitted):
        msg = f"This CA may not certify {shown!r}: its root permits {_listed(name, permitted)} only."
        raise InvalidError(msg)


def _inside(name: x509.DNSName | x509.IPAddress, bounds: _Bounds) -> bool:
    if isinstance(name, x509.DNSName):
        return any(_within(name.value, tree) for tree in bounds[0])
    value = name.value
    networks = value if isinstance(value, _Network) else ipaddress.ip_network(value)
    return any(network.version == networks.version and networks.subnet_of(network) for network in bounds[1])  # type: ignore[arg-type]  # of one version


def _listed(name: x509.DNSName | x509.IPAddress, bounds: _Bounds) -> str:
    return ", ".join(map(str, bounds[0] if isinstance(name, x509.DNSName) else bounds[1]))


@lru_cache(maxsize=128)
def _bounds(parent: x509.Certificate, *, of_permitted: bool) -> _Bounds:
    try:
        constraints = parent.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return (), ()
    trees = (constraints.permitted_subtrees if of_permitted else constraints.excluded_subtrees) or []
    dns = tuple(tree.value.lower() for tree in trees if isinstance(tree, x509.DNSName))
    networks = tuple(
        tree.value for tree in trees if isinstance(tree, x509.IPAddress) and isinstance(tree.value, _Network)
    )
    return dns, networks


def _within(name: str, tree: str) -> bool:
    """Return whether a DNS name is in a subtree; an empty tree holds all, `.x` what is below x."""
    lower = name.lower().rstrip(".")
    if tree.startswith("."):
        return lower.endswith(tree)
    return not tree or lower == tree or lower.endswith(f".{tree}")
