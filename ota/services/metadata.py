"""The published TUF repository: put people's signed documents in place, keep snapshot and timestamp fresh."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ota.errors import MetadataError, StaleReleaseError
from ota.trust import documents, policy
from ota.trust.repository import Repository, load
from pki import selectors as ground
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.models import TrustDomain
from pki.services import ledger, numbers, signing


def repository(slug: str) -> Repository:
    """Return the published repository of a domain."""
    return Repository(settings.FLEET_DIR / "tuf" / slug)


def read(slug: str, name: str) -> bytes:
    """Return a published metadata file.

    Raises:
        NotFoundError: nothing of that name was published.
    """
    return repository(slug).read(name)


def online_keys(*, actor: Actor) -> Mapping[str, Mapping[str, Any]]:
    """Make the online keys that are missing and return the public halves, for the root ceremony."""
    actor.require(Role.SECURITY_OFFICER)
    return signing.client("admin").create_online_keys(ground.domain(actor.domain).slug)


def next_online_keys(*, actor: Actor, names: list[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Make the next generation of some online keys; return for each role the keys that the next root shall name.

    They sign nothing before ``switch_online_keys``, and devices believe them once officers have signed that root.
    """
    actor.require(Role.SECURITY_OFFICER)
    domain = ground.domain(actor.domain)
    held = signing.client("admin").prepare_online_keys(domain.slug, names)
    with transaction.atomic():
        detail = {name: [key["keyid"] for key in held[name]] for name in sorted(names)}
        ledger.record(actor=actor, action="online-keys.prepared", thing=("domain", domain.slug), detail=detail)
    return held


def switch_online_keys(*, actor: Actor, names: list[str]) -> None:
    """Sign with the next generation of some online keys from now on.

    Raises:
        MetadataError: the installed root does not name it yet; devices would not believe it.
    """
    actor.require(Role.SECURITY_OFFICER)
    domain = ground.domain(actor.domain)
    store, held = repository(domain.slug), signing.client("admin").held_keys(domain.slug)
    root = store.root()
    for name in names:
        following = held.get(name, [])[1:]
        if root is None or not following or following[0]["keyid"] not in policy.named_online(root.signed, name):
            msg = f"The installed root does not name a next {name} key; make one and let the officers sign a root."
            raise MetadataError(msg)
    with transaction.atomic(), store.lock():
        _switch(actor, domain, names)
        # While the root names both: later, when it names the new ones only, nothing old is left to be believed.
        _freshen(domain, store, anew=True)


def _switch(actor: Actor, domain: TrustDomain, names: list[str]) -> None:
    with transaction.atomic():
        signing.client("admin").switch_online_keys(domain.slug, names)
        keys = signing.client("admin").public_keys(domain.slug)
        detail = {name: keys[name]["keyid"] for name in sorted(names)}
        ledger.record(actor=actor, action="online-keys.switched", thing=("domain", domain.slug), detail=detail)


def install_root(*, actor: Actor, root: bytes) -> int:
    """Install a root that the officers signed; the first one, or the one after the installed.

    Returns:
        its version; installing the same one again changes nothing.

    Raises:
        MetadataError: it is not signed by enough people, or breaks a rule of ``ota.trust.policy``.
    """
    actor.require(Role.SECURITY_OFFICER)
    new = load(root, Root)
    domain = ground.domain(actor.domain)
    store = repository(domain.slug)
    online = signing.client("admin").held_keys(domain.slug)
    with transaction.atomic(), store.lock():
        previous = store.root()
        name = f"{new.signed.version}.root.json"
        if previous and previous.signed.version == new.signed.version:
            store.publish(name, root)
            return new.signed.version
        policy.check_root(new, previous, online, clock.now())
        store.publish(name, root)
        detail = {"version": new.signed.version, "officers": sorted(policy.officers(new.signed).values())}
        ledger.record(actor=actor, action="root.installed", thing=("root", new.signed.version), detail=detail)
        # A root that names the next key only is an emergency: the present one is believed no more.
        named = {name: policy.named_online(new.signed, name) for name in online}
        if late := sorted(name for name, held in online.items() if held[0]["keyid"] not in named[name]):
            _switch(actor, domain, late)
        _freshen(domain, store)
    _retire(actor, domain, {keyid for keyids in named.values() for keyid in keyids})
    return new.signed.version


def _retire(actor: Actor, domain: TrustDomain, named: set[str]) -> None:
    """Destroy past online keys that no root names any more."""
    line = signing.client("admin")
    past = {keyid for name in policy.ONLINE for keyid in line.every_key(domain.slug, name)}
    held = {key["keyid"] for keys in line.held_keys(domain.slug).values() for key in keys}
    if (past - held) & named:
        return
    if gone := line.retire_online_keys(domain.slug):
        with transaction.atomic():
            thing = ("domain", domain.slug)
            ledger.record(actor=actor, action="online-keys.destroyed", thing=thing, detail={"keys": gone})


def install_targets(*, actor: Actor, targets: bytes) -> int:
    """Install the first targets, empty and signed by the officers; return their version.

    Raises:
        MetadataError: not signed by enough people, or not empty.
    """
    actor.require(Role.SECURITY_OFFICER)
    first = load(targets, Targets)
    domain = ground.domain(actor.domain)
    store = repository(domain.slug)
    with transaction.atomic(), store.lock():
        present = store.targets()
        if present is not None:
            store.publish(f"{first.signed.version}.targets.json", targets)
            return first.signed.version
        if first.signed.targets or first.signed.delegations:
            msg = "The first targets list nothing; releases add to them."
            raise MetadataError(msg)
        _demand_officers(store, first)
        store.publish(f"{first.signed.version}.targets.json", targets)
        ledger.record(actor=actor, action="targets.installed", thing=("targets", first.signed.version))
        _freshen(domain, store)
    return first.signed.version


def publish_targets(*, domain: TrustDomain, targets: Metadata[Targets], base_version: int) -> None:
    """Put officers' targets in place, then snapshot and timestamp; doing it again changes nothing.

    Raises:
        MetadataError: not enough different people signed.
        StaleReleaseError: other targets were published meanwhile.
    """
    store = repository(domain.slug)
    with store.lock():
        present = store.targets()
        version = present.signed.version if present else 0
        if version == targets.signed.version:
            return
        if version != base_version:
            msg = "Another release was published meanwhile. Prepare this one again and have it signed again."
            raise StaleReleaseError(msg, published=version, base=base_version)
        _demand_officers(store, targets)
        store.publish(f"{targets.signed.version}.targets.json", documents.to_bytes(targets))
        _freshen(domain, store)


def refresh(*, domain: TrustDomain) -> bool:
    """Sign snapshot and timestamp anew when they are due; a job calls this every few minutes.

    Returns:
        whether anything was signed.
    """
    store = repository(domain.slug)
    if not _due(store, clock.now()):
        return False
    with transaction.atomic(), store.lock():
        return _freshen(domain, store)


def numbers_after(*, domain: TrustDomain, role: str, published: int) -> int:
    """Return the next version of a role: above all handed out and above what is published."""
    return max(numbers.following(domain=domain, name=f"tuf.{role}"), published + 1)


def _demand_officers(store: Repository, targets: Metadata[Targets]) -> None:
    root = store.root()
    if root is None:
        msg = "Install the TUF root first (`manage.py release root`)."
        raise MetadataError(msg)
    signers = policy.signed_by(root.signed, targets.signed_bytes, targets.signatures)
    if not policy.enough(root.signed, signers):
        names = ", ".join(sorted(set(signers.values()))) or "nobody"
        msg = f"Targets need the signatures of at least two officers; valid ones are of {names}."
        raise MetadataError(msg)


def _due(store: Repository, now: datetime) -> bool:
    return store.targets() is not None and (_snapshot_due(store, now) is not None or _timestamp_due(store, now))


def _freshen(domain: TrustDomain, store: Repository, *, anew: bool = False) -> bool:
    """Sign what is due, or everything anew; the caller holds the repository's lock and a transaction."""
    now = clock.now()
    targets = store.targets()
    if targets is None:
        return False
    targets_version = targets.signed.version if anew else _snapshot_due(store, now)
    if targets_version is not None:
        published = next(iter(store.versions("snapshot")), 0)
        version = numbers_after(domain=domain, role="snapshot", published=published)
        snapshot = _signed(domain, documents.snapshot(version, targets_version, now))
        store.publish(f"{version}.snapshot.json", snapshot)
    elif not _timestamp_due(store, now):
        return False
    _sign_timestamp(domain, store, now)
    return True


def _sign_timestamp(domain: TrustDomain, store: Repository, now: datetime) -> None:
    snapshot_version = store.versions("snapshot")[0]
    snapshot = store.read(f"{snapshot_version}.snapshot.json")
    present = store.newest(Timestamp)
    version = numbers_after(domain=domain, role="timestamp", published=present.signed.version if present else 0)
    data = _signed(domain, documents.timestamp(version, snapshot_version, snapshot, now))
    store.publish("timestamp.json", data)


def _snapshot_due(store: Repository, now: datetime) -> int | None:
    """Return the version of targets that a new snapshot has to name, or None when the newest does."""
    targets, newest = store.targets(), store.newest(Snapshot)
    if targets is None:
        return None
    version = targets.signed.version
    if newest is None or newest.signed.meta["targets.json"].version != version:
        return version
    fresh = _believed(store, newest) and not _half_gone(newest.signed.expires, documents.SNAPSHOT_LIFE, now)
    return None if fresh else version


def _timestamp_due(store: Repository, now: datetime) -> bool:
    newest, snapshots = store.newest(Timestamp), store.versions("snapshot")
    if newest is None or not snapshots or newest.signed.snapshot_meta.version != snapshots[0]:
        return True
    return not _believed(store, newest) or _half_gone(newest.signed.expires, documents.TIMESTAMP_LIFE, now)


def _believed(store: Repository, document: Metadata[Any]) -> bool:
    """Say whether the present root's online key signed a document (after a rotation it did not)."""
    root = store.root()
    kind, payload = document.signed.type, document.signed_bytes
    return root is not None and bool(root.signed.get_verification_result(kind, payload, document.signatures))


def _half_gone(expires: datetime, life: timedelta, now: datetime) -> bool:
    return expires - now < life / 2


def _signed(domain: TrustDomain, document: Metadata[Any]) -> bytes:
    answer = signing.client("work").sign(document.signed.type, domain.slug, document.signed_bytes)
    documents.sign(document, answer["keyid"], answer["sig"])
    data = documents.to_bytes(document)
    json.loads(data)
    return data
