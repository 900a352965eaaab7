"""Server addresses in the form that devices receive. Pure."""

import re
from urllib.parse import urlsplit

LONGEST = 255
SCHEMES = frozenset({"https", "coaps"})
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f:.]{2,45}")


def is_server(text: object) -> bool:
    """Return whether a text is an address that a device may be sent to: ``https://host:port`` or ``coaps://host:port``.

    Nothing else may be in it, neither a path nor a name before the host: what two readers could understand in two ways
    is no address.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    written = f"[{host}]" if ":" in host else host
    return (
        parts.scheme in SCHEMES
        and bool(_HOST.fullmatch(host))
        and port is not None
        and port > 0
        and text == f"{parts.scheme}://{written}:{port}"
    )
