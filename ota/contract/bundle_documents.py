"""What a genuine ``bundle.json`` holds, for all who read one: server, devices and release officers' tool.

The types describe the format and guarantee nothing: a device does not trust a document for its type. A reader of one
checks what it uses and turns ``KeyError``, ``TypeError``, ``ValueError`` and ``AttributeError`` into a refusal.
"""

from typing import NotRequired, TypedDict


class HardwareEntry(TypedDict):
    """A hardware model that a bundle is for: UUIDs of vendor and class (SUIT, RFC 9019), name, revision."""

    vendor_id: str
    class_id: str
    name: str
    rev: NotRequired[str]


class FileRecord(TypedDict):
    """A file of a bundle: path inside it, size in bytes, SHA-256 in hex, role such as ``image``."""

    path: str
    size: int
    sha256: str
    role: str


class RequirementEntry(TypedDict):
    """What must run beside a bundle: a component and the bounds of its security counter."""

    component: str
    min_counter: int
    max_counter: NotRequired[int | None]


class Needs(TypedDict, total=False):
    """What a bundle needs of a device: bytes of flash and tensor arena; what the elements of its output mean."""

    flash: int
    arena: int
    labels: list[str]


class BundleDocument(TypedDict):
    """A ``bundle.json``, see docs/reference/formats.md; groups that are only shown to people are plain maps."""

    schema: int
    id: str
    version: str
    kind: str
    format: str
    component: str
    security_counter: int
    audience: list[str]
    hw: list[HardwareEntry]
    files: list[FileRecord]
    requires: NotRequired[list[RequirementEntry]]
    acknowledges: NotRequired[list[str]]
    fit: NotRequired[Needs]
    eval: NotRequired[dict[str, object]]
    min_runtime: NotRequired[dict[str, object]]
    licence: NotRequired[str]
    support_until: NotRequired[str]
    sbom: NotRequired[str]


def is_within(need: RequirementEntry, counter: int) -> bool:
    """Return whether a security counter is within the bounds of a requirement."""
    most = need.get("max_counter")
    return need["min_counter"] <= counter and (most is None or counter <= most)
