"""What a device reports about itself, as its twin keeps it and the API answers it.

``devices.models.Twin`` names the type in its column. ``ota.services.reports`` and the protocol adapters check what
arrives before it is kept; only what they check is in here. A device that never reported has an empty document, and
rows of older servers may lack members: read with ``get``.
"""

from collections.abc import Iterable
from typing import Literal, TypedDict

#: what the update client of a device can ask for, see ``UpdateProof``
Evidence = Literal["metadata", "documents", "director", "manifest", "deployment"]


class ComponentState(TypedDict, total=False):
    """What runs as one component.

    Args:
        version: by the device's own word.
        sha256: of the image, in hex.
        counter: its security counter.
        confirmed: whether it has passed its own checks and stays.
        arena: bytes of memory that a model takes.
        signed: whether release officers signed this image; the server adds it.
    """

    version: str
    sha256: str
    counter: int
    confirmed: bool
    arena: int
    signed: bool


class Applier(TypedDict):
    """A patch format that a device can apply, and the memory and output size, in bytes, that it has for that."""

    format: str
    ram_max: int
    out_max: int


class UpdateProof(TypedDict, total=False):
    """By which protocol a device updates, and when it last asked for what (unix time, six hours coarse).

    Args:
        client: ``native``, ``suit`` or ``ddi``.
        metadata: TUF metadata of the officers.
        documents: lists and ``bundle.json`` that officers signed.
        director: what the director chose for it.
        manifest: the SUIT manifest.
        deployment: the DDI deployment.
    """

    client: str
    metadata: int
    documents: int
    director: int
    manifest: int
    deployment: int


class SeenByDevice(TypedDict, total=False):
    """What a report says beside the components.

    Args:
        anchors: SHA-256, in hex, of the roots that the device trusts.
        head: of the audit log, as it was last shown to the device: epoch, size, root hash.
        appliers: which patches it can apply.
    """

    anchors: list[str]
    head: list[int | str]
    appliers: list[Applier]


class ReportedTwin(SeenByDevice, total=False):
    """The reported section of a twin.

    Args:
        components: name to what runs.
        config: the configuration that the device says it has.
        attributes: of a client of another protocol (DDI configData).
        altered: attributes whose value was cleaned or cut.
        proof: how its update client has shown to check what it installs.
        protection: what servers before ``proof`` have noted.
    """

    components: dict[str, ComponentState]
    config: dict[str, object]
    attributes: dict[str, str]
    altered: list[str]
    proof: UpdateProof
    protection: str


#: hex digits of a digest that distinguish roots; a device that reports others only misreports its own state
ROOT_MARK = 16


def trusted_root_marks(anchors: Iterable[str]) -> str:
    """Return the column of a device for the roots that it trusts: the first digits of their digests, in order.

    Args:
        anchors: SHA-256 of the roots, in hex, as ``SeenByDevice.anchors`` holds them.
    """
    return " ".join(sorted(digest[:ROOT_MARK] for digest in anchors))
