"""Notice a database that is older than the facts outside it, and bring it up to date on demand."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.ledger.merkle import Frontier
from pki.models import LedgerHead, LedgerOrder, TrustDomain
from pki.services import journal, ledger, restores

#: A fact is written before its transaction commits; none takes longer than this.
LONGEST_TRANSACTION = timedelta(minutes=10)


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


def _lost() -> dict[str, list[dict[str, Any]]]:
    """Return the published heads from the present epoch on that the database does not reach, by domain."""
    published: dict[str, list[dict[str, Any]]] = {}
    for head in journal.heads():
        published.setdefault(head["domain"], []).append(head)
    lost = {}
    for domain in TrustDomain.objects.all():
        missing = _missing(domain, published.get(domain.slug, []))
        if missing:
            lost[domain.slug] = sorted(missing, key=lambda head: (head["epoch"], head["size"]))
    return lost


def _missing(domain: TrustDomain, heads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    epoch = restores.journalled_epoch(domain, heads)
    known = set(LedgerHead.objects.filter(domain=domain).values_list("epoch", "size", "root_hash"))
    unknown = [
        head for head in heads if head["epoch"] >= epoch and (head["epoch"], head["size"], head["root"]) not in known
    ]
    if not unknown:
        return []
    # A crash between publishing a head and storing it loses the row, not the entries.
    roots = _roots(domain, {head["size"] for head in unknown})
    return [head for head in unknown if head["epoch"] > epoch or roots.get(head["size"]) != head["root"]]


def _roots(domain: TrustDomain, sizes: set[int]) -> dict[int, str]:
    frontier, roots = Frontier(), {}
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index").values_list("entry__leaf_hash", flat=True)
    for leaf in rows.iterator(chunk_size=2000):
        frontier.add(bytes.fromhex(leaf))
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root().hex()
    return roots
