"""What runs together: the document in a composite bundle that names the bundles to be installed as one.

``parts.json`` is canonical JSON: ``{"schema": 1, "version", "parts": [{"component", "id", "version", "digest"}]}``;
``digest`` is the SHA-256 of the part's canonical ``bundle.json``, so that its officers' signature and this
one's say the same. Server and device read it with the same code.
"""

import re
from dataclasses import dataclass

from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from pki.kernel.names import SLUG, wrong_version

COMPONENT = "composite"
MAX_PARTS = 16 * 1024
LEAST, MOST = 2, 8
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: what is never a part: a composite, and the trust configuration of devices
_NEVER = {COMPONENT, "config"}


@dataclass(frozen=True, slots=True)
class CompositePart:
    """A bundle by its names, and the SHA-256 of its ``bundle.json`` in hex."""

    component: str
    id: str
    version: str
    digest: str

    @property
    def path(self) -> str:
        """Return its name among the signed targets."""
        return f"{self.component}/{self.id}/{self.version}/bundle.json"


def read_parts(data: bytes) -> tuple[str, tuple[CompositePart, ...]]:
    """Return version and parts.

    Raises:
        InvalidError: it is no such document.
    """
    document: object = canonical.loads(data, max_bytes=MAX_PARTS)
    match document:
        case {"schema": 1, "version": str(version), "parts": [*listed], **rest} if not rest:
            parts = [_part(item) for item in listed]
            components = {part.component for part in parts}
            if LEAST <= len(parts) <= MOST and len(components) == len(parts) and not components & _NEVER:
                return version, tuple(parts)
    msg = (
        f"parts.json must have schema (1), version, and {LEAST} to {MOST} parts. Each part must be for a different "
        "component, and none for a composite or the configuration."
    )
    raise InvalidError(msg)


def _part(value: object) -> CompositePart:
    match value:
        case {"component": str(component), "id": str(name), "version": str(version), "digest": str(digest), **rest}:
            if why := wrong_version(version):
                msg = f"The version of the part {component!r} is not valid: {why}."
                raise InvalidError(msg)
            good = SLUG.fullmatch(component) and SLUG.fullmatch(name)
            if good and _DIGEST.fullmatch(digest) and not rest:
                return CompositePart(component, name, version, digest)
    msg = "A part must have exactly component, id, version, and digest: the SHA-256 of its bundle.json in hex."
    raise InvalidError(msg)
