"""Renew the online roles of the TUF repository: snapshot and timestamp, signed by this server's signer."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from ota.contract.tuf_json import RoleMetadata
from ota.errors import MetadataError
from ota.models import Bundle
from ota.trust import documents
from ota.trust.repository import Repository, delegated_bins
from pki.kernel import clock
from pki.models import TrustDomain
from pki.services import numbers, signing


def published_repository(slug: str) -> Repository:
    """Return the published repository of a domain."""
    return Repository(settings.FLEET_DIR / "tuf" / slug)


def is_listed(bundle: Bundle) -> bool:
    """Return whether officers have signed this exact bundle, independent of the database rows."""
    target = published_repository(bundle.domain.slug).listed(bundle.target_path)
    return target is not None and target.hashes.get("sha256") == bundle.digest


def refresh_online_roles(*, domain: TrustDomain) -> bool:
    """Renew snapshot and timestamp when they are due; a job calls this every few minutes.

    Returns:
        whether anything was signed.
    """
    store = published_repository(domain.slug)
    if not _due(store, clock.now()):
        return False
    with transaction.atomic(), store.lock():
        return sign_due_roles(domain, store)


def sign_due_roles(domain: TrustDomain, store: Repository, *, anew: bool = False) -> bool:
    """Sign what is due, or renew everything; the caller holds the repository's lock and a transaction.

    Raises:
        MetadataError: a bin is missing, so that no snapshot can be whole.
    """
    now = clock.now()
    if store.targets() is None:
        return False
    if anew or _snapshot_due(store, now):
        published = next(iter(store.versions(Snapshot.type)), 0)
        version = numbers_after(domain=domain, role=Snapshot.type, published=published)
        snapshot = _signed(domain, documents.unsigned_snapshot(version, _believed_versions(store), now))
        store.publish(f"{version}.snapshot.json", snapshot)
    elif not _timestamp_due(store, now):
        return False
    _sign_timestamp(domain, store, now)
    return True


def numbers_after(*, domain: TrustDomain, role: str, published: int) -> int:
    """Return the next version of a role: above all numbers issued and above what is published.

    Versions that people sign count in small steps: each bin is in every snapshot, and officers see a jump.
    """
    if role in {Snapshot.type, Timestamp.type}:
        return max(numbers.next_number(domain=domain, name=f"tuf.{role}"), published + 1)
    return numbers.following_small(domain=domain, name=f"tuf.{role}", above=published)


def _due(store: Repository, now: datetime) -> bool:
    return store.targets() is not None and (_snapshot_due(store, now) or _timestamp_due(store, now))


def _snapshot_due(store: Repository, now: datetime) -> bool:
    """Return whether a new snapshot is due: signed documents changed, or half of its validity has passed."""
    newest = store.newest(Snapshot)
    if newest is None or not _fresh(store, newest, now):
        return True
    named = _named(newest)
    return named != _present(store) and named != _believed_versions(store)


def _fresh(store: Repository, newest: Metadata[Snapshot], now: datetime) -> bool:
    return _believed(store, newest) and not _half_gone(newest.signed.expires, documents.SNAPSHOT_LIFE, now)


def _named(snapshot: Metadata[Snapshot]) -> dict[str, int]:
    return {name.removesuffix(".json"): meta.version for name, meta in snapshot.signed.meta.items()}


def _present(store: Repository) -> dict[str, int]:
    """Return the newest stored versions; this does not check whether officers signed them."""
    return {role: version for role, version in store.newest_versions().items() if role not in {"root", "snapshot"}}


def _believed_versions(store: Repository) -> Mapping[str, int]:
    """Return the newest version of targets and of each bin that the officers signed."""
    targets = store.targets()
    if targets is None:
        return {}
    versions = {Targets.type: targets.signed.version}
    roles, newest = delegated_bins(targets.signed), store.newest(Snapshot)
    known = _named(newest) if newest and newest.signed.meta["targets.json"].version == targets.signed.version else {}
    present = store.newest_versions()
    for role in roles.get_roles() if roles else ():
        if present.get(role) == known.get(role, 0):
            versions[role] = known[role]  # verified when that snapshot was made, and a file never changes
            continue
        document = store.document(role)
        if document is None:
            msg = f"{role} is missing, or not signed by the officers that the targets name; no snapshot can be made."
            raise MetadataError(msg)
        versions[role] = document.signed.version
    return versions


def _sign_timestamp(domain: TrustDomain, store: Repository, now: datetime) -> None:
    snapshot_version = store.versions(Snapshot.type)[0]
    present = store.newest(Timestamp)
    version = numbers_after(domain=domain, role=Timestamp.type, published=present.signed.version if present else 0)
    data = _signed(domain, documents.unsigned_timestamp(version, snapshot_version, now))
    store.publish("timestamp.json", data)


def _timestamp_due(store: Repository, now: datetime) -> bool:
    newest, snapshots = store.newest(Timestamp), store.versions(Snapshot.type)
    if newest is None or not snapshots or newest.signed.snapshot_meta.version != snapshots[0]:
        return True
    return not _believed(store, newest) or _half_gone(newest.signed.expires, documents.TIMESTAMP_LIFE, now)


def _believed(store: Repository, document: RoleMetadata) -> bool:
    """Return whether an online key of the current root signed a document (after a rotation it did not)."""
    root = store.root()
    kind, payload = document.signed.type, document.signed_bytes
    return root is not None and bool(root.signed.get_verification_result(kind, payload, document.signatures))


def _half_gone(expires: datetime, life: timedelta, now: datetime) -> bool:
    return expires - now < life / 2


def _signed(domain: TrustDomain, document: RoleMetadata) -> bytes:
    answer = signing.signer_client("work").sign(document.signed.type, domain.slug, document.signed_bytes)
    documents.attach_signature(document, answer["keyid"], answer["sig"])
    return documents.to_bytes(document)
