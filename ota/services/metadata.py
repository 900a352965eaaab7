"""The published TUF repository: install documents that officers signed; ``online_roles`` renews the online roles."""

import json
from collections.abc import Iterable, Mapping

from django.db import transaction
from tuf.api.metadata import Metadata, Root, Targets

from ota.contract import tuf_json
from ota.errors import MetadataError, StaleReleaseError
from ota.services import online_roles
from ota.services.machine_keys import machine_identities
from ota.services.online_roles import published_repository
from ota.trust import documents, policy
from ota.trust.repository import Repository, load_document
from pki import selectors as ground
from pki.kernel import clock, intake, strict_json
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.kernel.permissions import Action, require_action
from pki.kernel.public_keys import TufKey
from pki.models import TrustDomain
from pki.services import ledger, signing

#: the first set: targets and every bin, as one JSON map
MAX_SET = 64 << 20


def read_published_metadata(slug: str, name: str) -> bytes:
    """Return a published metadata file.

    Raises:
        NotFoundError: no file of that name was published.
    """
    return published_repository(slug).read(name)


def online_keys(*, actor: Actor) -> Mapping[str, TufKey]:
    """Create missing online keys; return the public keys for the root ceremony."""
    require_action(actor, Action.MANAGE_ONLINE_KEYS)
    domain = ground.get_domain(actor.domain)
    held = signing.signer_client("admin").create_online_keys(domain.slug)
    if published_repository(domain.slug).root() is None:  # they are new: nothing names them yet
        detail = {name: str(key.get("keyid", "")) for name, key in sorted(held.items())}
        with transaction.atomic():
            ledger.record(actor=actor, action="online-keys.created", thing=("domain", domain.slug), detail=detail)
    return held


def next_online_keys(*, actor: Actor, names: list[str]) -> Mapping[str, list[TufKey]]:
    """Create the next generation of some online keys; return the keys that the next root must list, by role.

    They sign nothing before ``switch_online_keys``, and devices trust them once officers have signed that root.
    """
    require_action(actor, Action.MANAGE_ONLINE_KEYS)
    domain = ground.get_domain(actor.domain)
    held = signing.signer_client("admin").prepare_online_keys(domain.slug, names)
    with transaction.atomic():
        detail = {name: [key["keyid"] for key in held[name]] for name in sorted(names)}
        ledger.record(actor=actor, action="online-keys.prepared", thing=("domain", domain.slug), detail=detail)
    return held


def switch_online_keys(*, actor: Actor, names: list[str]) -> None:
    """Switch to the next generation of some online keys.

    Raises:
        MetadataError: the installed root does not list it yet; devices would not trust it.
    """
    require_action(actor, Action.MANAGE_ONLINE_KEYS)
    domain = ground.get_domain(actor.domain)
    store, held = published_repository(domain.slug), signing.signer_client("admin").held_keys(domain.slug)
    root = store.root()
    for name in names:
        following = held.get(name, [])[1:]
        if root is None or not following or following[0]["keyid"] not in policy.named_online(root.signed, name):
            msg = f"The installed root does not list a next {name} key. Create one and have the officers sign a root."
            raise MetadataError(msg)
    with transaction.atomic(), store.lock():
        _switch(actor, domain, names)
        # While the root names both: later, when it names the new ones only, nothing old is left to trust.
        online_roles.sign_due_roles(domain, store, anew=True)


def _switch(actor: Actor, domain: TrustDomain, names: list[str]) -> None:
    with transaction.atomic():
        signing.signer_client("admin").switch_online_keys(domain.slug, names)
        keys = signing.signer_client("admin").public_keys(domain.slug)
        detail = {name: keys[name]["keyid"] for name in sorted(names)}
        ledger.record(actor=actor, action="online-keys.switched", thing=("domain", domain.slug), detail=detail)


def install_root(*, actor: Actor, root: bytes) -> int:
    """Install a root that the officers signed: the first root, or the successor of the installed one.

    Returns:
        its version; installing the same one again changes nothing.

    Raises:
        MetadataError: it is not signed by enough people, or breaks a rule of ``ota.trust.policy``.
    """
    require_action(actor, Action.INSTALL_ROOT)
    new = load_document(root, Root)
    domain = ground.get_domain(actor.domain)
    store = published_repository(domain.slug)
    online = signing.signer_client("admin").held_keys(domain.slug)
    with transaction.atomic(), store.lock():
        previous = store.root()
        name = f"{new.signed.version}.root.json"
        if previous and previous.signed.version == new.signed.version:
            store.publish(name, root)
            return new.signed.version
        policy.check_root(new, previous, online, clock.now(), machine_identities(new.signed))
        store.publish(name, root)
        detail = {"version": new.signed.version, "officers": sorted(policy.role_officers(new.signed).values())}
        ledger.record(actor=actor, action="root.installed", thing=("root", new.signed.version), detail=detail)
        # A root that lists only the next key is an emergency: the current key is no longer trusted.
        named = {name: policy.named_online(new.signed, name) for name in online}
        if late := sorted(name for name, held in online.items() if held[0]["keyid"] not in named[name]):
            _switch(actor, domain, late)
        online_roles.sign_due_roles(domain, store)
    _retire(actor, domain, {keyid for keyids in named.values() for keyid in keyids})
    return new.signed.version


def _retire(actor: Actor, domain: TrustDomain, named: set[str]) -> None:
    """Destroy past online keys that no root names any more."""
    line = signing.signer_client("admin")
    past = {keyid for name in policy.ONLINE for keyid in line.every_key(domain.slug, name)}
    held = {key["keyid"] for keys in line.held_keys(domain.slug).values() for key in keys}
    if (past - held) & named:
        return
    if gone := line.retire_online_keys(domain.slug):
        with transaction.atomic():
            thing = ("domain", domain.slug)
            ledger.record(actor=actor, action="online-keys.destroyed", thing=thing, detail={"keys": gone})


def install_targets(*, actor: Actor, targets: bytes) -> int:
    """Install the first targets with their bins, empty and signed by the officers; return the targets' version.

    Args:
        actor: a security officer.
        targets: a JSON map of role to document, as ``muster-sign tuf-targets`` writes it.

    Raises:
        MetadataError: not signed by enough people, not empty, or bins are missing.
        StaleReleaseError: there are targets with bins already; officers renew them.
    """
    require_action(actor, Action.INSTALL_TARGETS)
    found = _set(targets)
    domain = ground.get_domain(actor.domain)
    store = published_repository(domain.slug)
    with transaction.atomic(), store.lock():
        present = store.targets()
        first = found[Targets.type].signed
        if present is not None and present.signed.delegations:
            _publish_all(store, found)  # the same ones again change nothing, and others are refused
            return first.version
        if any(value.signed.targets for value in found.values()) or documents.floors_of(first):
            msg = "The first targets list nothing; releases add to them."
            raise MetadataError(msg)
        root = _root(store)
        policy.check_targets(root, found[Targets.type])
        policy.check_whole(first, found)
        for role in found.keys() - {Targets.type}:
            policy.check_bin(root, first, role, found[role])
        _publish_all(store, found)
        ledger.record(actor=actor, action="targets.installed", thing=("targets", first.version))
        online_roles.sign_due_roles(domain, store)
    return first.version


def publish_metadata(
    *, domain: TrustDomain, given: policy.Documents, bases: Mapping[str, int], exhibits: Iterable[str] = ()
) -> None:
    """Install officers' documents, then snapshot and timestamp; repeating this changes nothing.

    Args:
        domain: whose repository.
        given: by role, signed.
        bases: the version that each of them follows.
        exhibits: texts that the documents name by their digest: ``bundle.json`` of what is new.

    Raises:
        MetadataError: not enough different people signed.
        StaleReleaseError: one of the documents changed meanwhile.
    """
    store = published_repository(domain.slug)
    with store.lock():
        _demand_present(store, given, bases)
        root = _root(store)
        targets = given[Targets.type] if Targets.type in given else store.targets()
        if targets is None:
            msg = "There are no targets yet. Install the first ones (`manage.py release root`)."
            raise MetadataError(msg)
        policy.check_targets(root, targets)
        if _delegations(targets) != _delegations(store.targets()):
            policy.check_whole(targets.signed, given)
        for role in given.keys() - {Targets.type}:
            policy.check_bin(root, targets.signed, role, given[role])
        for text in exhibits:
            store.publish(f"{documents.text_digest(text)}.bundle.json", text.encode())
        _publish_all(store, given)
        online_roles.sign_due_roles(domain, store)


def _demand_present(store: Repository, given: policy.Documents, bases: Mapping[str, int]) -> None:
    """Refuse documents that do not follow the current ones; a publication that a crash interrupted continues."""
    believed = store.last_believed() if store.targets() is None else {role: store.document(role) for role in given}
    present = {role: _version(believed.get(role)) for role in given}
    if any(version not in {bases.get(role, 0), given[role].signed.version} for role, version in present.items()):
        msg = "Another statement about the same targets was published meanwhile. Prepare and sign this one again."
        raise StaleReleaseError(msg, published=present, base=dict(bases))


def _set(data: bytes) -> dict[str, Metadata[Targets]]:
    """Read a map of role to document."""
    if len(data) > MAX_SET:
        msg = f"A set of targets may have at most {MAX_SET} bytes."
        raise MetadataError(msg)
    try:
        value = intake.map_of(strict_json.read_json(data, max_bytes=MAX_SET, max_depth=tuf_json.MOST_DEPTH), "targets")
        documents = {role: load_document(json.dumps(item).encode(), Targets) for role, item in value.items()}
    except (ValueError, AttributeError, InvalidError) as error:
        msg = "The first targets are a JSON map of role to document, as `muster-sign tuf-targets` writes it."
        raise MetadataError(msg) from error
    if Targets.type not in documents:
        msg = "The set has no `targets`."
        raise MetadataError(msg)
    return documents


def _publish_all(store: Repository, given: policy.Documents) -> None:
    """Write bins first: targets that delegate to them need them."""
    for role in sorted(given, key=lambda one: one == Targets.type):
        store.publish(f"{given[role].signed.version}.{role}.json", documents.to_bytes(given[role]))


def _root(store: Repository) -> Root:
    root = store.root()
    if root is None:
        msg = "Install the TUF root first (`manage.py release root`)."
        raise MetadataError(msg)
    return root.signed


def _delegations(document: Metadata[Targets] | None) -> dict[str, object] | None:
    delegations = document.signed.delegations if document else None
    return delegations.to_dict() if delegations else None


def _version(document: Metadata[Targets] | None) -> int:
    return document.signed.version if document else 0
