"""Notice a database that is older than the facts outside it, and bring it up to date on demand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from django.db import transaction

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.ledger.heads import PublishedHead
from pki.ledger.merkle import Frontier
from pki.models import LedgerHead, LedgerOrder, TrustDomain
from pki.services import journal, ledger, restores

#: A fact is written before its transaction commits; none takes longer than this.
LONGEST_TRANSACTION = timedelta(minutes=10)
#: published heads that are compared with the database at once
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume changed.

    Args:
        applied: facts of the journal that were missing, by kind.
        refused: facts that could not be applied: a sentence each.
        lost: ledger heads that the database does not reach any more, by domain.
    """

    applied: dict[str, int]
    refused: list[str]
    lost: dict[str, int]


def problems() -> list[str]:
    """Return, in sentences, in which domains a published ledger head is missing from the database."""
    found = []
    for slug, lost in _lost().items():
        head = lost[-1]
        found.append(
            f"The ledger of {slug} was published up to epoch {head['epoch']}, entry {head['size']},"
            f" but the database does not reach it: it is older than the journal."
        )
    return found


def require() -> None:
    """Refuse to work on a database that is older than the journal; apply what a crash left in the journal only.

    Raises:
        StaleDatabaseError: it says what to do.
    """
    if found := problems():
        msg = f"{' '.join(found)} Run `manage.py restore --resume` first."
        raise StaleDatabaseError(msg)
    catch_up()


def catch_up() -> dict[str, int]:
    """Apply the facts that are younger than the newest head: their leaves need not have been published yet.

    A transaction that failed after its fact was written leaves a fact alone, too. Applying it errs on the safe
    side: a token counts as used, a certificate as revoked, a number as taken.
    """
    newest = LedgerHead.objects.order_by("-at").values_list("at", flat=True).first()
    return journal.apply(since=newest - LONGEST_TRANSACTION if newest else None).changed


def resume() -> Resumed:
    """Apply the journal to the database and begin a new ledger epoch where heads were lost."""
    lost = _lost()
    applied = journal.apply()
    for slug, heads in lost.items():
        with transaction.atomic():
            domain = TrustDomain.objects.get(slug=slug)
            last = heads[-1]
            # Above every epoch ever published: the same backup may be restored twice.
            epoch = 1 + max(head["epoch"] for head in heads)
            detail = {**restores.signed_statement(slug, epoch, last), "applied": applied.changed}
            actor = actors.system(slug, "restore", via="command")
            ledger.record(actor=actor, action="ledger.restored", thing=("ledger", slug), detail=detail, domain=domain)
    return Resumed(applied.changed, applied.refused, {slug: len(heads) for slug, heads in lost.items()})


def _lost() -> dict[str, list[PublishedHead]]:
    """Return the published heads from the present epoch on that the database does not reach, by domain."""
    domains = {domain.slug: domain for domain in TrustDomain.objects.all()}
    unknown = _unknown(domains, {slug: _epoch(domain) for slug, domain in domains.items()})
    lost = {}
    for slug, (epoch, heads) in unknown.items():
        # A crash between publishing a head and storing it loses the row, not the entries.
        roots = _roots(domains[slug], {head["size"] for head in heads})
        missing = [head for head in heads if head["epoch"] > epoch or roots.get(head["size"]) != head["root"]]
        if missing:
            lost[slug] = sorted(missing, key=lambda head: (head["epoch"], head["size"]))
    return lost


def _epoch(domain: TrustDomain) -> int:
    return restores.journalled_epoch(domain, (head for head in journal.heads() if head["domain"] == domain.slug))


def _unknown(
    domains: Mapping[str, TrustDomain], epochs: Mapping[str, int]
) -> dict[str, tuple[int, list[PublishedHead]]]:
    """Return present epoch and published heads without a row, by domain; the journal is read in pieces."""
    found: dict[str, tuple[int, list[PublishedHead]]] = {}
    heads = (head for head in journal.heads() if head["domain"] in domains and head["epoch"] >= epochs[head["domain"]])
    while some := list(islice(heads, AT_ONCE)):
        for slug in dict.fromkeys(head["domain"] for head in some):
            own = [head for head in some if head["domain"] == slug]
            known = _known(domains[slug], own)
            unknown = [head for head in own if (head["epoch"], head["size"], head["root"]) not in known]
            if unknown:
                found.setdefault(slug, (epochs[slug], []))[1].extend(unknown)
    return found


def _known(domain: TrustDomain, heads: list[PublishedHead]) -> set[tuple[int, int, str]]:
    epochs, sizes = {head["epoch"] for head in heads}, {head["size"] for head in heads}
    rows = LedgerHead.objects.filter(domain=domain, epoch__in=epochs, size__in=sizes)
    return set(rows.values_list("epoch", "size", "root_hash"))


def _roots(domain: TrustDomain, sizes: set[int]) -> dict[int, str]:
    frontier, roots = Frontier(), {}
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index").values_list("entry__leaf_hash", flat=True)
    for leaf in rows.iterator(chunk_size=2000):
        frontier.add(bytes.fromhex(leaf))
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root().hex()
    return roots
