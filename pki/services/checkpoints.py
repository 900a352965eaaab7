"""Keep how far the journal was compared with the database, so that a start reads only what follows (decision 0003).

What is kept saves work only while all of this holds; otherwise the journal is read as a whole:

* it was written by a server with this set-up's secret: the database's owner cannot advance it;
* both files are the same ones and have the same line before their places: they were neither cut nor exchanged;
* every domain is named, and its ledger still has the newest head it had then, and as many heads up to it;
* no domain's epoch goes back, and each restore that the database claims was known then or is in the new part.

A database that is put back brings an older place: all that was published since is compared, as ever.
"""

import hmac
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TypedDict, cast

from django.conf import settings

from pki.kernel import canonical, files
from pki.kernel.errors import DomainError
from pki.kernel.line_places import LinePlace, is_unchanged
from pki.models import JournalCheckpoint, LedgerHead, TrustDomain
from pki.services import journal, restores

_logger = logging.getLogger(__name__)
#: version of the stored format; other versions are ignored
VERSION = 1


class _Place(TypedDict):
    inode: int
    end: int
    length: int
    digest: str


class _Statement(TypedDict):
    version: int
    heads: _Place | None
    facts: _Place | None
    since: str | None
    tips: dict[str, tuple[int, tuple[int, int, str] | None, int]]


@dataclass(frozen=True, slots=True)
class LedgerTip:
    """State of one domain's audit log when the journal was compared with it.

    Args:
        epoch: up to which restores were known to the journal.
        head: epoch, size and root of the newest head in the database; None without heads.
        heads: number of heads up to it.
    """

    epoch: int
    head: tuple[int, int, str] | None
    heads: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the journal was compared with the database.

    Args:
        heads: the place in ``heads.jsonl`` up to which every head was found in the database.
        facts: the place in ``journal.jsonl`` up to which every fact is older than ``since``.
        since: before it no fact was applied at that start.
        tips: what the ledgers held, by domain.
    """

    heads: LinePlace | None = None
    facts: LinePlace | None = None
    since: datetime | None = None
    tips: Mapping[str, LedgerTip] = field(default_factory=dict)

    @property
    def heads_from(self) -> int:
        """Return the byte of ``heads.jsonl`` from which on it must be read."""
        return self.heads.end if self.heads else 0

    @property
    def facts_from(self) -> int:
        """Return the byte of ``journal.jsonl`` from which on it must be read."""
        return self.facts.end if self.facts else 0

    def epoch_of(self, slug: str) -> int:
        """Return the epoch that a domain had reached; 0 at the beginning."""
        return self.tips[slug].epoch if slug in self.tips else 0


#: nothing is known: both files are read as a whole
BEGINNING = Checkpoint()


def trusted_checkpoint(domains: Iterable[TrustDomain]) -> Checkpoint:
    """Return the checkpoint that was kept if it still holds for these domains (all there are), else ``BEGINNING``."""
    row = JournalCheckpoint.objects.first()
    kept = _read_statement(row) if row else None
    if kept is None or not _files_hold(kept):
        return BEGINNING
    return kept if all(_ledger_holds(domain, kept) for domain in domains) else BEGINNING


def keep_checkpoint(checkpoint: Checkpoint) -> None:
    """Store a checkpoint in place of the previous one."""
    statement = {
        "version": VERSION,
        "heads": asdict(checkpoint.heads) if checkpoint.heads else None,
        "facts": asdict(checkpoint.facts) if checkpoint.facts else None,
        "since": checkpoint.since.isoformat() if checkpoint.since else None,
        "tips": {slug: [tip.epoch, tip.head and [*tip.head], tip.heads] for slug, tip in checkpoint.tips.items()},
    }
    JournalCheckpoint.objects.update_or_create(pk=1, defaults={"statement": statement, "mac": _mac(statement)})


def tip_of(domain: TrustDomain, epoch: int) -> LedgerTip:
    """Return the current state of a domain's audit log.

    Args:
        domain: of the ledger.
        epoch: up to which the journal knows its restores.
    """
    rows = LedgerHead.objects.filter(domain=domain).order_by("-epoch", "-size")
    head = rows.values_list("epoch", "size", "root_hash").first()
    return LedgerTip(epoch, head, _heads_up_to(domain, head) if head else 0)


def _files_hold(kept: Checkpoint) -> bool:
    places = ((journal.HEADS, kept.heads), (journal.FACTS, kept.facts))
    changed = [name for name, place in places if place and not is_unchanged(journal.journal_folder() / name, place)]
    for name in changed:
        _logger.warning("the journal was truncated, changed or replaced; all of it is read again", extra={"file": name})
    return not changed


def _ledger_holds(domain: TrustDomain, kept: Checkpoint) -> bool:
    tip = kept.tips.get(domain.slug)
    if tip is None or (tip.epoch and tip.epoch not in restores.claimed_epochs(domain)):
        return False
    if tip.head is None:
        return True
    epoch, size, root = tip.head
    same = LedgerHead.objects.filter(domain=domain, epoch=epoch, size=size, root_hash=root).exists()
    return same and _heads_up_to(domain, tip.head) == tip.heads


def _heads_up_to(domain: TrustDomain, head: tuple[int, int, str]) -> int:
    rows = LedgerHead.objects.filter(domain=domain)
    return rows.filter(epoch__lt=head[0]).count() + rows.filter(epoch=head[0], size__lte=head[1]).count()


def _read_statement(row: JournalCheckpoint) -> Checkpoint | None:
    """Return a stored statement; None if another installation or another version wrote it."""
    try:
        own = hmac.compare_digest(row.mac.encode(), _mac(row.statement).encode())
    except DomainError:  # not canonical, so no server wrote it
        return None
    if not own or row.statement.get("version") != VERSION:
        return None
    statement = cast("_Statement", row.statement)  # its authentication code proves that keep_checkpoint wrote it
    heads, facts, since = statement["heads"], statement["facts"], statement["since"]
    return Checkpoint(
        LinePlace(**heads) if heads else None,
        LinePlace(**facts) if facts else None,
        datetime.fromisoformat(since) if since else None,
        {slug: LedgerTip(epoch, head and (*head,), count) for slug, (epoch, head, count) in statement["tips"].items()},
    )


def _mac(statement: object) -> str:
    """Return the authentication code of a statement in hex, by a secret that no listener can read."""
    key = files.secret_once(settings.FLEET_DIR / "secrets" / "journal-checkpoint", lambda: secrets.token_urlsafe(48))
    return hmac.new(key.encode(), canonical.dumps(statement), "sha256").hexdigest()
