"""Write the audit log: leaves in the transactions of services; order and signature follow."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from pki.kernel import canonical, clock, ids
from pki.kernel.actor import Actor, ActorKind
from pki.ledger import merkle
from pki.models import LedgerEdge, LedgerEntry, LedgerHead, LedgerOrder, TrustDomain, prepared_sql
from pki.services import journal, ledger_nodes, signing
from pki.services.ledger_place import place_of

#: fields of an entry that its leaf contains, beside the domain
LEAF_FIELDS = ("public_id", "at", "actor_kind", "actor_key", "via", "action", "object_kind", "object_key", "detail",
               "request_id")  # fmt: skip
#: leaves put in order in one transaction, and transactions in one go
BATCH, BATCHES = 1000, 5


def record(
    *,
    actor: Actor,
    action: str,
    thing: tuple[str, object],
    detail: Mapping[str, object] | None = None,
    domain: TrustDomain | None = None,
) -> LedgerEntry:
    """Write one leaf in the caller's transaction.

    Args:
        actor: who did it.
        action: ``noun.verb`` in the past tense, such as ``certificate.revoked``.
        thing: kind and key of the object.
        detail: canonical JSON facts, no secrets.
        domain: the trust domain, when the caller has it at hand.

    Raises:
        RuntimeError: outside a transaction, where the action and its leaf could be separated.
    """
    if not connection.in_atomic_block:
        msg = "A ledger leaf is written in the transaction of the action that it records."
        raise RuntimeError(msg)
    home = domain or TrustDomain.objects.get(slug=actor.domain)
    now = clock.now().replace(microsecond=0)
    facts: dict[str, object] = {
        "public_id": ids.uuid7(),
        "at": now,
        "actor_kind": actor.kind.value,
        "actor_key": actor.key[:100],
        "via": actor.via,
        "action": action,
        "object_kind": thing[0],
        "object_key": str(thing[1])[:100],
        "detail": dict(detail or {}),
        "request_id": actor.request_id,
    }
    leaf = merkle.hash_leaf(_bytes(home.slug, now, facts)).hex()
    return prepared_sql.insert_row(LedgerEntry, domain=home, leaf_hash=leaf, **facts)


def leaf_bytes(entry: LedgerEntry) -> bytes:
    """Return the canonical bytes of a leaf."""
    facts = {name: getattr(entry, name) for name in LEAF_FIELDS}
    return _bytes(entry.domain.slug, entry.at, facts)


def _bytes(domain: str, at: datetime, facts: Mapping[str, object]) -> bytes:
    return canonical.dumps(
        {
            "id": str(facts["public_id"]),
            "domain": domain,
            "at": at.isoformat(),
            "actor": f"{facts['actor_kind']}:{facts['actor_key']}",
            "via": facts["via"],
            "action": facts["action"],
            "object": f"{facts['object_kind']}:{facts['object_key']}",
            "detail": facts["detail"],
            "request": facts["request_id"],
        }
    )


def leaf_hash(entry: LedgerEntry) -> str:
    """Return the hex RFC 6962 hash of a leaf."""
    return merkle.hash_leaf(leaf_bytes(entry)).hex()


def hash_of(domain: str, at: datetime, facts: Mapping[str, object]) -> str:
    """Return the hex RFC 6962 hash of the leaf that time and fields (``LEAF_FIELDS``) make in a domain (slug)."""
    return merkle.hash_leaf(_bytes(domain, at, facts)).hex()


def sequence_leaves(*, domain: TrustDomain) -> LedgerHead | None:
    """Order new leaves and sign the new head; return it, if any. One leased job calls this."""
    place = place_of(domain.pk)
    place.begin()
    index, ordered = _last_place(domain)
    after, batches = place.settled, 0
    while (waiting := _waiting(domain, after)) and batches < BATCHES:
        _place(domain, index + 1, waiting)
        index, after, batches = index + len(waiting), waiting[-1][0], batches + 1
    if not waiting:
        place.finish(max(ordered, after))
    if not batches and not _unsigned(domain, index + 1):
        return None
    return _sign(domain)


def _last_place(domain: TrustDomain) -> tuple[int, int]:
    """Return the last index of a domain and its entry; -1 and 0 if there is none."""
    rows = LedgerOrder.objects.filter(domain=domain).order_by("-index")
    return rows.values_list("index", "entry_id").first() or (-1, 0)


def _place(domain: TrustDomain, first: int, entries: list[tuple[int, str]]) -> None:
    """Give entries (as ``_waiting`` returns them) their places from the first free one on, and keep what they complete.

    Read before, written in one short transaction: two at once would collide at the unique place.
    """
    nodes = ledger_nodes.completed_nodes(domain, first, [leaf for _, leaf in entries])
    with transaction.atomic():
        LedgerOrder.objects.bulk_create(
            [LedgerOrder(domain=domain, index=index, entry_id=key) for index, (key, _) in enumerate(entries, first)]
        )
        ledger_nodes.keep_nodes(nodes)


def _waiting(domain: TrustDomain, after: int) -> list[tuple[int, str]]:
    """Return id and leaf hash of the next entries above an id that have no index, oldest first."""
    rows = LedgerEntry.objects.filter(domain=domain, order__isnull=True, id__gt=after)
    return list(rows.order_by("id").values_list("id", "leaf_hash")[:BATCH])


def epoch_of(domain: TrustDomain) -> int:
    """Return the current epoch: it grows each time the audit log is resumed from a backup."""
    last = restored_epochs(domain).last()
    return int(last.detail["epoch"]) if last else 0


def restored_epochs(domain: TrustDomain) -> QuerySet[LedgerEntry]:
    """Return the leaves that began an epoch, oldest first."""
    rows = LedgerEntry.objects.filter(domain=domain, action="ledger.restored", actor_kind=ActorKind.SYSTEM)
    return rows.order_by("id")


def _unsigned(domain: TrustDomain, size: int) -> bool:
    return size > 0 and not LedgerHead.objects.filter(domain=domain, epoch=epoch_of(domain), size=size).exists()


def _sign(domain: TrustDomain) -> LedgerHead:
    frontier = _grown(domain)
    epoch, root, at = epoch_of(domain), frontier.root().hex(), clock.now().replace(microsecond=0).isoformat()
    head = {"_type": "head", "domain": domain.slug, "epoch": epoch, "size": frontier.size, "root": root, "at": at}
    signed = signing.signer_client("work").sign("head", domain.slug, canonical.dumps(head))
    journal.append_head({**head, **signed})
    edge = [[height, value.hex()] for height, value in frontier.stack]
    LedgerEdge.objects.update_or_create(domain=domain, defaults={"size": frontier.size, "frontier": edge})
    return LedgerHead.objects.create(
        domain=domain,
        epoch=epoch,
        size=frontier.size,
        root_hash=root,
        at=at,
        key_id=signed["keyid"],
        signature=signed["sig"],
    )


def _grown(domain: TrustDomain) -> merkle.Frontier:
    """Return the tree's right edge over all leaves that are in order, going on from where the newest head was."""
    frontier = _kept(domain)
    rows = LedgerOrder.objects.filter(domain=domain, index__gte=frontier.size).order_by("index")
    for leaf in rows.values_list("entry__leaf_hash", flat=True).iterator(chunk_size=5000):
        frontier.add(bytes.fromhex(leaf))
    return frontier


def _kept(domain: TrustDomain) -> merkle.Frontier:
    """Return the stored edge if it belongs to the newest head; else an empty one, so that leaves are read."""
    edge = LedgerEdge.objects.filter(domain=domain).first()
    head = LedgerHead.objects.filter(domain=domain).order_by("-epoch", "-size").first()
    if edge is None or head is None or head.epoch != epoch_of(domain):
        return merkle.Frontier()
    frontier = merkle.Frontier([(height, bytes.fromhex(value)) for height, value in edge.frontier])
    same = (frontier.size, frontier.root().hex()) == (head.size, head.root_hash)
    return frontier if same else merkle.Frontier()


def hex_digest(data: bytes) -> str:
    """Return the hex SHA-256 of bytes, for details that name a document."""
    return hashlib.sha256(data).hexdigest()
