"""Detect a database that is older than the journal, and bring it up to date on demand."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.kernel.line_places import LinePlace, last_place
from pki.models import LedgerHead, TrustDomain
from pki.services import checkpoints, journal, ledger, restores
from pki.services.checkpoints import Checkpoint
from pki.services.published_heads import Comparison, LostHeads, compare_heads

_logger = logging.getLogger(__name__)
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


@dataclass(frozen=True, slots=True)
class Checked:
    """What a server start has read from the journal.

    Args:
        heads: published heads that were read.
        facts: facts that were read.
        applied: facts that the database lacked, by kind.
    """

    heads: int
    facts: int
    applied: dict[str, int]


def restore_problems() -> list[str]:
    """Return, in sentences, in which domains a published ledger head is missing from the database.

    The journal is read completely, independent of what earlier starts compared.
    """
    return _sentences(compare_heads(_domains()).lost)


def require_current() -> Checked:
    """Refuse to work on a database that is older than the journal; apply what a crash left in the journal only.

    Only what follows the kept checkpoint is read; the whole journal where the checkpoint does not hold.

    Raises:
        StaleDatabaseError: the database is older; the message says what to do.
    """
    domains = _domains()
    kept = checkpoints.trusted_checkpoint(domains.values())
    # Both ends before anything is read: what comes meanwhile is the next start's.
    heads_end, facts_end = _end(journal.HEADS), _end(journal.FACTS)
    compared = compare_heads(domains, kept)
    if sentences := _sentences(compared.lost):
        msg = f"{' '.join(sentences)} Run `manage.py restore --resume` first."
        raise StaleDatabaseError(msg)
    since = _applied_since()
    applied = _catch_up(kept, since)
    old_until = facts_end if applied.first is None else _end(journal.FACTS, applied.first)
    _keep(domains, compared, Checkpoint(heads_end, old_until if since else None, since))
    _logger.info("the journal was compared with the database", extra={"heads": compared.read, "facts": applied.read})
    return Checked(compared.read, applied.read, applied.changed)


def _catch_up(kept: Checkpoint, since: datetime | None) -> journal.Applied:
    """Apply the facts that are younger than the newest head: their leaves need not have been published yet.

    A transaction that failed after its fact was written leaves a fact alone, too. Applying it errs on the safe
    side: a token counts as used, a certificate as revoked, a number as taken.
    """
    # Everything before the checkpoint is older than its `since`, so it is too old now unless that time went back.
    forward = since is not None and kept.since is not None and since >= kept.since
    return journal.apply_facts(since, kept.facts_from if forward else 0)


def _applied_since() -> datetime | None:
    """Return when the oldest facts were written that a start applies; None for all of them: there is no head yet."""
    newest = LedgerHead.objects.order_by("-id").values_list("at", flat=True).first()
    return newest - LONGEST_TRANSACTION if newest else None


def _keep(domains: Mapping[str, TrustDomain], compared: Comparison, reached: Checkpoint) -> None:
    """Store how far the journal was compared, except for a head that has no row yet."""
    tips = {slug: checkpoints.tip_of(domain, compared.epochs[slug]) for slug, domain in domains.items()}
    # A crash has lost the row of the newest head: until a newer one is stored, the entries themselves are compared.
    if any((tips[slug].head or (0, 0))[:2] < newest for slug, newest in compared.unstored.items()):
        return
    checkpoints.keep_checkpoint(Checkpoint(reached.heads, reached.facts, reached.since, tips))


def _end(name: str, limit: int | None = None) -> LinePlace | None:
    return last_place(journal.journal_folder() / name, limit)


def resume_after_restore() -> Resumed:
    """Apply the journal to the database and begin a new ledger epoch where heads were lost."""
    lost = compare_heads(_domains()).lost
    applied = journal.apply_facts()
    for slug, heads in lost.items():
        with transaction.atomic():
            domain = TrustDomain.objects.get(slug=slug)
            # Above every epoch ever published: the same backup may be restored twice.
            epoch = 1 + heads.last["epoch"]
            detail = {**restores.signed_statement(slug, epoch, heads.last), "applied": applied.changed}
            actor = actors.system_actor(slug, "restore", via="command")
            ledger.record(actor=actor, action="ledger.restored", thing=("ledger", slug), detail=detail, domain=domain)
    return Resumed(applied.changed, applied.refused, {slug: heads.number for slug, heads in lost.items()})


def _domains() -> dict[str, TrustDomain]:
    return {domain.slug: domain for domain in TrustDomain.objects.all()}


def _sentences(lost: Mapping[str, LostHeads]) -> list[str]:
    return [
        f"The audit log of {slug} was published up to epoch {heads.last['epoch']}, entry {heads.last['size']},"
        f" but the database does not reach it: it is older than the journal."
        for slug, heads in lost.items()
    ]
