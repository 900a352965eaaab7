"""Prove contents of the audit log: inclusion of an entry, consistency of two heads, export of all."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pki.kernel import canonical
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.permissions import Action, require_action
from pki.ledger import proofs
from pki.models import LedgerOrder
from pki.selectors import get_domain as domain_of
from pki.selectors import signed_head
from pki.services import journal, ledger, signing
from pki.services.ledger_nodes import Tree


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Proves that an entry is in the tree that a head signs; all hashes in hex."""

    leaf: dict[str, object]
    index: int
    size: int
    root: str
    path: list[str]


@dataclass(frozen=True, slots=True)
class Consistency:
    """Shows that the tree of a newer head only adds to that of an older one; all hashes in hex."""

    old_size: int
    new_size: int
    new_root: str
    path: list[str]


def prove_inclusion(*, actor: Actor, entry: str) -> Inclusion:
    """Prove that an entry is in the newest signed tree.

    Args:
        actor: anybody with a role.
        entry: public id.

    Raises:
        NotFoundError: there is no such entry, or no head covers it yet (wait a second).
    """
    require_action(actor, Action.READ)
    domain, head = domain_of(actor.domain), signed_head(actor=actor)
    row = LedgerOrder.objects.filter(domain=domain, entry__public_id=entry).select_related("entry__domain").first()
    if row is None or row.index >= head.size:
        msg = "No signed head covers such an entry yet."
        raise NotFoundError(msg)
    path = proofs.inclusion_path(row.index, head.size, Tree(domain).subtree)
    leaf = dict(json.loads(ledger.leaf_bytes(row.entry)))
    return Inclusion(leaf, row.index, head.size, head.root_hash, [sibling.hex() for sibling in path])


def prove_consistency(*, actor: Actor, old: int) -> Consistency:
    """Prove that the newest signed tree only adds to the one over the first ``old`` entries."""
    require_action(actor, Action.READ)
    head = signed_head(actor=actor)
    if not 0 < old <= head.size:
        msg = f"`old` must be 1 to {head.size}."
        raise InvalidError(msg)
    path = proofs.consistency_path(old, head.size, Tree(domain_of(actor.domain)).subtree)
    return Consistency(old, head.size, head.root_hash, [sibling.hex() for sibling in path])


def export_ledger(*, actor: Actor) -> Iterator[bytes]:
    """Yield the whole audit log as JSON lines: facts, entries in order, signed heads (``pki/ledger/verifier.py``)."""
    require_action(actor, Action.READ)
    domain = domain_of(actor.domain)
    keys = signing.signer_client("admin").every_key(domain.slug, "ledger")
    yield _line({"kind": "ledger", "domain": domain.slug, "keys": [key.hex() for key in keys.values()]})
    rows = LedgerOrder.objects.filter(domain=domain).select_related("entry__domain").order_by("index")
    for row in rows.iterator(chunk_size=1000):
        yield _line({"kind": "entry", "index": row.index, "entry": json.loads(ledger.leaf_bytes(row.entry))})
    for head in journal.published_heads():
        if head["domain"] == domain.slug:
            yield _line({"kind": "head", "head": head})


def _line(value: Mapping[str, object]) -> bytes:
    return canonical.dumps(value) + b"\n"
