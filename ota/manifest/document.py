"""What a bundle says about itself, as values."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from pki.kernel import canonical


@dataclass(frozen=True, slots=True)
class Hardware:
    """Hardware that the bundle is for (identifiers as in SUIT and MCUboot, RFC 9124).

    Args:
        vendor_id: uuid5(DNS, vendor's domain).
        class_id: uuid5(vendor_id, name).
        name: of the hardware model.
        rev: hardware revision, or empty for any.
    """

    vendor_id: UUID
    class_id: UUID
    name: str
    rev: str = ""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One payload file: name, size in bytes, SHA-256 in hex, and what it is for."""

    path: str
    size: int
    sha256: str
    role: str


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must run beside it: a component with a counter in a range."""

    component: str
    min_counter: int
    max_counter: int | None = None


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What the author says of a model: needs in bytes (zero: not declared), and what its outputs mean.

    Args:
        flash: bytes of flash.
        arena: bytes of tensor arena.
        labels: names of the classes in the order of the output's elements; empty when nothing was said.
    """

    flash: int = 0
    arena: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole ``bundle.json``; ``raw`` keeps the document as it was read."""

    id: str
    version: str
    kind: str
    format: str
    component: str
    security_counter: int
    audience: tuple[str, ...]
    hw: tuple[Hardware, ...]
    files: tuple[FileEntry, ...]
    requires: tuple[Requirement, ...]
    fit: ModelNeeds
    acknowledges: tuple[str, ...]
    raw: dict[str, object]

    @property
    def digest(self) -> str:
        """Return the bundle's digest: SHA-256 of the canonical document, in hex."""
        return hashlib.sha256(canonical.dumps(self.raw)).hexdigest()

    @property
    def image(self) -> FileEntry:
        """Return the one file that devices install."""
        return next(entry for entry in self.files if entry.role == "image")

    def of_role(self, role: str) -> FileEntry | None:
        """Return the first file of a role, or None."""
        return next((entry for entry in self.files if entry.role == role), None)
