"""Build TUF documents from values: targets for people to sign, snapshot and timestamp for the signer."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

TARGETS_LIFE = timedelta(days=365)
SNAPSHOT_LIFE = timedelta(days=7)
TIMESTAMP_LIFE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that devices may install.

    Args:
        path: ``<component>/<bundle name>/<version>/<file>``.
        length: in bytes.
        sha256: hex.
        custom: ``hw``, ``counter``, ``kind``, ``component``, ``bundle``, ``version``, ``audience``.
    """

    path: str
    length: int
    sha256: str
    custom: dict[str, Any]

    def target(self) -> TargetFile:
        """Return it as TUF says it."""
        return TargetFile(self.length, {"sha256": self.sha256}, self.path, {"custom": self.custom})


def targets(base: Targets, entries: Iterable[Entry], version: int, now: datetime) -> Metadata[Targets]:
    """Return unsigned targets: all that the base lists, and the new entries.

    Args:
        base: what is published now.
        entries: what a release adds.
        version: of the new document.
        now: it expires a year later.
    """
    listed = {**base.targets, **{entry.path: entry.target() for entry in entries}}
    document = Targets(
        version=version,
        expires=_seconds(now + TARGETS_LIFE),
        targets=dict(sorted(listed.items())),
        unrecognized_fields=dict(base.unrecognized_fields),
    )
    return Metadata(document)


def snapshot(version: int, targets_version: int, now: datetime) -> Metadata[Snapshot]:
    """Return an unsigned snapshot that names the targets' version."""
    meta = {"targets.json": MetaFile(targets_version)}
    return Metadata(Snapshot(version=version, expires=_seconds(now + SNAPSHOT_LIFE), meta=meta))


def timestamp(version: int, snapshot_version: int, snapshot_bytes: bytes, now: datetime) -> Metadata[Timestamp]:
    """Return an unsigned timestamp that names the snapshot with length and hash."""
    digest = hashlib.sha256(snapshot_bytes).hexdigest()
    meta = MetaFile(snapshot_version, len(snapshot_bytes), {"sha256": digest})
    return Metadata(Timestamp(version=version, expires=_seconds(now + TIMESTAMP_LIFE), snapshot_meta=meta))


def sign(metadata: Metadata[Any], keyid: str, sig: str) -> None:
    """Attach a signature that someone made over ``signed_bytes``."""
    metadata.signatures[keyid] = Signature(keyid, sig)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """Return the compact file."""
    return metadata.to_bytes(JSONSerializer(compact=True))


def _seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)
