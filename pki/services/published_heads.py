"""Compare the published tree heads with the database, and find those that the database lacks.

The journal is read in a stream, in pieces. Heads that have no row are few, but after a restore of an old backup; then
they are compared with the tree by way of a file (``pki.ledger.claims``): the memory does not grow with their number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from pki.ledger import claims
from pki.ledger.heads import PublishedHead, TreeHead
from pki.ledger.merkle import Frontier
from pki.models import LedgerHead, LedgerOrder, TrustDomain
from pki.services import journal, restores
from pki.services.checkpoints import BEGINNING, Checkpoint

#: published heads that are compared with the database at once
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class LostHeads:
    """Published heads of one domain that the database does not reach.

    Args:
        number: of them.
        last: the newest.
    """

    number: int
    last: TreeHead


@dataclass(slots=True)
class Comparison:
    """The result of comparing published heads with the database.

    Args:
        epochs: the present one, by domain.
        read: heads that were read.
        unstored: epoch and size of the newest head without a row, by domain.
        lost: heads that the entries do not reach either, by domain.
    """

    epochs: Mapping[str, int]
    read: int = 0
    unstored: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: dict[str, LostHeads] = field(default_factory=dict)


def compare_heads(domains: Mapping[str, TrustDomain], kept: Checkpoint = BEGINNING) -> Comparison:
    """Compare the published heads of the present epochs with the database.

    Args:
        domains: all that there are, by slug.
        kept: the checkpoint behind which heads are read; where it does not suffice, all are.
    """
    epochs = _epochs(domains, kept)
    if epochs is None:
        kept, epochs = BEGINNING, _epochs(domains, BEGINNING) or {}
    compared = Comparison(epochs)
    for head in _unstored(domains, kept, compared):
        newest = compared.unstored.get(head["domain"], (0, 0))
        compared.unstored[head["domain"]] = max(newest, (head["epoch"], head["size"]))
    for slug in compared.unstored:
        if lost := _lost(domains[slug], kept, epochs[slug]):
            compared.lost[slug] = lost
    return compared


def _epochs(domains: Mapping[str, TrustDomain], kept: Checkpoint) -> dict[str, int] | None:
    """Return the newest epoch that the database claims and the journal knows, by domain.

    None when a claim above the checkpoint's epoch is unknown to what follows it: then the whole journal must say.
    """
    epochs = {slug: kept.epoch_of(slug) for slug in domains}
    newer = {
        slug: [epoch for epoch in restores.claimed_epochs(domain) if epoch > epochs[slug]]
        for slug, domain in domains.items()
    }
    if not any(newer.values()):
        return epochs
    known = restores.journalled_epochs(journal.published_heads(kept.heads_from), journal.read_facts(kept.facts_from))
    for slug, claimed in newer.items():
        proved = [epoch for epoch in claimed if epoch in known.get(slug, ())]
        if len(proved) < len(claimed) and kept is not BEGINNING:
            return None
        epochs[slug] = max([epochs[slug], *proved])
    return epochs


def _unstored(domains: Mapping[str, TrustDomain], kept: Checkpoint, compared: Comparison) -> Iterator[PublishedHead]:
    """Yield the heads from the present epochs on that have no row; count all that are read."""

    def present() -> Iterator[PublishedHead]:
        for head in journal.published_heads(kept.heads_from):
            compared.read += 1
            if head["domain"] in domains and head["epoch"] >= compared.epochs[head["domain"]]:
                yield head

    return _without_row(domains, present())


def _without_row(domains: Mapping[str, TrustDomain], heads: Iterator[PublishedHead]) -> Iterator[PublishedHead]:
    while some := list(islice(heads, AT_ONCE)):
        for slug in dict.fromkeys(head["domain"] for head in some):
            own = [head for head in some if head["domain"] == slug]
            known = _known(domains[slug], own)
            yield from (head for head in own if (head["epoch"], head["size"], head["root"]) not in known)


def _known(domain: TrustDomain, heads: list[PublishedHead]) -> set[tuple[int, int, str]]:
    epochs, sizes = {head["epoch"] for head in heads}, {head["size"] for head in heads}
    rows = LedgerHead.objects.filter(domain=domain, epoch__in=epochs, size__in=sizes)
    return set(rows.values_list("epoch", "size", "root_hash"))


def _lost(domain: TrustDomain, kept: Checkpoint, epoch: int) -> LostHeads | None:
    """Return the heads without a row that the entries do not reach.

    A crash between publishing a head and storing it loses the row, not the entries.
    """
    own = (
        head
        for head in journal.published_heads(kept.heads_from)
        if head["domain"] == domain.slug and head["epoch"] >= epoch
    )
    number, last = 0, None
    with claims.Claims() as claimed:
        unstored = _without_row({domain.slug: domain}, own)
        claimed.add_published(claims.ClaimedHead(head["epoch"], head["size"], head["root"]) for head in unstored)
        claimed.add_roots(_roots(domain, claimed.sizes()))
        for head, true in claimed.published():
            if head.epoch > epoch or head.root != true:
                number += 1
                last = head if last is None or head[:2] >= last[:2] else last
    return LostHeads(number, TreeHead(epoch=last.epoch, size=last.size, root=last.root)) if last else None


def _roots(domain: TrustDomain, sizes: Iterator[int]) -> Iterator[tuple[int, str]]:
    """Yield the root that the entries have at each of these sizes, which rise."""
    frontier, next_size = Frontier(), next((size for size in sizes if size > 0), None)
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index").values_list("entry__leaf_hash", flat=True)
    for leaf in rows.iterator(chunk_size=2000):
        if next_size is None:
            return
        frontier.add(bytes.fromhex(leaf))
        if frontier.size == next_size:
            yield next_size, frontier.root().hex()
            next_size = next(sizes, None)
