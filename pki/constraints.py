"""Name constraints (RFC 5280, 4.2.1.10): which names an issuing CA may certify, as its root has bounded it. Pure.

Only dNSName subtrees are used: device certificates have a URN without a host, to which no URI constraint could apply.
"""

from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from pki.kernel.errors import InvalidError


def check(parent: x509.Certificate, names: Iterable[x509.GeneralName]) -> None:
    """Refuse names that lie outside of what a CA's certificate permits.

    Raises:
        InvalidError: it says which name, and what is permitted.
    """
    permitted = _permitted(parent)
    if not permitted:
        return
    for name in names:
        if isinstance(name, x509.DNSName) and not any(_within(name.value, one) for one in permitted):
            msg = f"This CA may not certify {name.value[:80]!r}: its root permits {', '.join(permitted)} only."
            raise InvalidError(msg)


@lru_cache(maxsize=64)
def _permitted(parent: x509.Certificate) -> tuple[str, ...]:
    try:
        constraints = parent.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    trees = constraints.permitted_subtrees or []
    return tuple(one.value.lower() for one in trees if isinstance(one, x509.DNSName))


def _within(name: str, tree: str) -> bool:
    return name.lower() == tree or name.lower().endswith(f".{tree}")
