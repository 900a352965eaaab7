"""Build TUF documents from values: targets and bins for people to sign, snapshot and timestamp for the signer.

Top-level targets list nothing themselves: they delegate to hash bins (TAP 15, succinct roles) that the same people
sign, and carry the counter floors. A target is the ``bundle.json`` of a bundle, so that people sign hardware, audience,
counter, requirements and every file of it by one digest.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from securesystemslib.signer import Signature
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from ota.contract.field_names import FLOORS_FIELD
from ota.contract.tuf_json import RoleMetadata

TARGETS_LIFE = timedelta(days=365)
SNAPSHOT_LIFE = timedelta(days=7)
TIMESTAMP_LIFE = timedelta(hours=1)
#: bins are named ``b-0a``: a prefix, short because each is in every snapshot, and the hash of what they hold
BIN_PREFIX = "b"
WITHDRAWN = "withdrawn"
#: component to hardware class to the lowest security counter that devices may install
Floors = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class ListedBundle:
    """One bundle that devices may install.

    Args:
        path: ``<component>/<bundle name>/<version>/bundle.json``.
        document: the canonical bytes of its ``bundle.json``.
    """

    path: str
    document: bytes

    @property
    def digest(self) -> str:
        """Return the bundle's digest: SHA-256 in hex."""
        return hashlib.sha256(self.document).hexdigest()

    def target(self) -> TargetFile:
        """Return it as TUF says it."""
        return TargetFile(len(self.document), {"sha256": self.digest}, self.path)


def unsigned_bin(base: Targets, entries: Iterable[ListedBundle], version: int, now: datetime) -> Metadata[Targets]:
    """Return an unsigned bin: all that the base lists, and the new entries.

    Args:
        base: what is published now.
        entries: what a release adds.
        version: of the new document.
        now: it expires a year later.
    """
    document = _following(base, version, now)
    listed = {**document.targets, **{entry.path: entry.target() for entry in entries}}
    document.targets = dict(sorted(listed.items()))
    return Metadata(document)


def withdrawal_bin(base: Targets, path: str, reason: str, version: int, now: datetime) -> Metadata[Targets]:
    """Return an unsigned bin that lists a bundle as withdrawn: it stays known, and no device may install it.

    Args:
        base: the bin that lists it now.
        path: of the bundle.
        reason: for people.
        version: of the new document.
        now: it expires a year later.
    """
    document = _following(base, version, now)
    known = document.targets[path]
    document.targets[path] = TargetFile(known.length, dict(known.hashes), path, {"custom": {WITHDRAWN: reason}})
    return Metadata(document)


def raised_targets(base: Targets, floors: Floors, version: int, now: datetime) -> Metadata[Targets]:
    """Return unsigned top-level targets whose floors are the base's, raised by others.

    Args:
        base: what is published now.
        floors: no floor goes down by them.
        version: of the new document.
        now: it expires a year later.
    """
    document = _following(base, version, now)
    known = {component: dict(by) for component, by in floors_of(base).items()}
    for component, by in floors.items():
        held = known.setdefault(component, {})
        held.update({class_id: max(counter, held.get(class_id, 0)) for class_id, counter in by.items()})
    document.unrecognized_fields[FLOORS_FIELD] = known
    return Metadata(document)


def renewed_document(base: Targets, version: int, now: datetime) -> Metadata[Targets]:
    """Return an unsigned document that says what the base says, for another year."""
    return Metadata(_following(base, version, now))


def bin_delegations(root: Root, bit_length: int) -> Delegations:
    """Return the delegation to ``2 ** bit_length`` hash bins, signed by the very people who sign the targets."""
    role = root.roles[Targets.type]
    keys = {keyid: root.keys[keyid] for keyid in role.keyids}
    return Delegations(keys, succinct_roles=SuccinctRoles(list(keys), role.threshold, bit_length, BIN_PREFIX))


def floors_of(targets: Targets) -> dict[str, dict[str, int]]:
    """Return the counter floors that targets carry; people signed them."""
    floors = targets.unrecognized_fields.get(FLOORS_FIELD, {})
    return floors if isinstance(floors, dict) else {}


def reason_of(target: TargetFile) -> str | None:
    """Return why a bundle was withdrawn, or None when it was not."""
    custom: object = target.custom
    return str(custom[WITHDRAWN]) if isinstance(custom, dict) and WITHDRAWN in custom else None


def unsigned_snapshot(version: int, versions: Mapping[str, int], now: datetime) -> Metadata[Snapshot]:
    """Return an unsigned snapshot.

    Args:
        version: of the snapshot.
        versions: of targets and of each bin, by role.
        now: it expires a week later.
    """
    meta = {f"{role}.json": MetaFile(number) for role, number in sorted(versions.items())}
    return Metadata(Snapshot(version=version, expires=_seconds(now + SNAPSHOT_LIFE), meta=meta))


def unsigned_timestamp(version: int, snapshot_version: int, now: datetime) -> Metadata[Timestamp]:
    """Return an unsigned timestamp that names the snapshot's version: all that an idle device fetches."""
    meta = MetaFile(snapshot_version)
    return Metadata(Timestamp(version=version, expires=_seconds(now + TIMESTAMP_LIFE), snapshot_meta=meta))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in hex: what names a ``bundle.json``."""
    return hashlib.sha256(text.encode()).hexdigest()


def attach_signature(metadata: RoleMetadata, keyid: str, sig: str) -> None:
    """Attach a signature that someone made over ``signed_bytes``."""
    metadata.signatures[keyid] = Signature(keyid, sig)


def to_bytes(metadata: RoleMetadata) -> bytes:
    """Return the compact file."""
    return metadata.to_bytes(JSONSerializer(compact=True))


def _following(base: Targets, version: int, now: datetime) -> Targets:
    """Return what the base says under another version and date; entries are shared, and never changed in place."""
    return Targets(
        version=version,
        expires=_seconds(now + TARGETS_LIFE),
        targets=dict(base.targets),
        delegations=base.delegations,
        unrecognized_fields=dict(base.unrecognized_fields),
    )


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
