"""Notice a database that is older than the facts outside it, and bring it up to date on demand."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.models import LedgerHead, TrustDomain
from pki.services import journal, ledger


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume changed.

    Args:
        applied: facts of the journal that were missing, by kind.
        lost: ledger heads that the database does not reach any more, by domain.
    """

    applied: dict[str, int]
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
    """Refuse to work on a database that is older than the journal.

    Raises:
        StaleDatabaseError: it says what to do.
    """
    if found := problems():
        msg = f"{' '.join(found)} Run `manage.py restore --resume` first."
        raise StaleDatabaseError(msg)


def resume() -> Resumed:
    """Apply the journal to the database and begin a new ledger epoch where heads were lost."""
    lost = _lost()
    applied = journal.apply()
    for slug, heads in lost.items():
        with transaction.atomic():
            domain = TrustDomain.objects.get(slug=slug)
            detail = {
                "lost_epoch": heads[-1]["epoch"],
                "lost_size": heads[-1]["size"],
                "lost_root": heads[-1]["root"],
                "applied": applied,
            }
            actor = actors.system(slug, "restore", via="command")
            ledger.record(actor=actor, action="ledger.restored", thing=("ledger", slug), detail=detail, domain=domain)
    return Resumed(applied, {slug: len(heads) for slug, heads in lost.items()})


def _lost() -> dict[str, list[dict[str, Any]]]:
    """Return the published heads of the present epoch that the database does not know, by domain."""
    lost: dict[str, list[dict[str, Any]]] = {}
    domains = {domain.slug: domain for domain in TrustDomain.objects.all()}
    epochs = {slug: ledger.epoch_of(domain) for slug, domain in domains.items()}
    known = set(LedgerHead.objects.values_list("domain__slug", "epoch", "size", "root_hash"))
    for head in journal.heads():
        slug = head["domain"]
        if slug not in domains or head["epoch"] < epochs[slug]:
            continue
        if (slug, head["epoch"], head["size"], head["root"]) not in known:
            lost.setdefault(slug, []).append(head)
    return lost
