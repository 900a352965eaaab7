"""Facts outside the database (decision 0003): an append-only file that a restore does not roll back."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import cast

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction

from pki.kernel import clock, files, intake, strict_json
from pki.kernel.errors import DomainError, InvalidError
from pki.ledger.heads import PublishedHead

_logger = logging.getLogger(__name__)
#: one fact: ``kind`` and ``at``, and the members that its writer added
Fact = Mapping[str, object]
_handlers: dict[str, Callable[[dict[str, object]], bool]] = {}
#: the files: facts, and signed ledger heads
FACTS, HEADS = "journal.jsonl", "heads.jsonl"
#: bytes of one line
MOST_LINE = 1 << 20


def journal_folder() -> Path:
    """Return the journal's folder."""
    return files.private_folder(settings.FLEET_DIR / "journal")


def append_fact(kind: object, **fields: object) -> None:
    """Add one fact and wait until the disk has it; called before the transaction commits."""
    line = {"kind": kind, "at": clock.now().isoformat(), **fields}
    growing = _growing(settings.FLEET_DIR / "journal" / FACTS)
    growing.add(json.dumps(line, sort_keys=True).encode())
    growing.sync()


def append_head(head: dict[str, object]) -> None:
    """Add one signed ledger head to ``heads.jsonl``."""
    growing = _growing(journal_folder() / HEADS)
    growing.add(json.dumps(head, sort_keys=True).encode())
    growing.sync()


@cache
def _growing(path: Path) -> files.Growing:
    files.private_folder(path.parent)
    return files.Growing(path)


def read_facts(start: int = 0) -> Iterator[dict[str, object]]:
    """Yield every fact from a byte of the file on, oldest first; a line cut by a crash is passed over."""
    yield from (fact for _, fact in _facts(start))


def published_heads(start: int = 0) -> Iterator[PublishedHead]:
    """Yield every head published from a byte of the file on, oldest first: there may be more than memory holds."""
    needed = {"domain": str, "epoch": int, "size": int, "root": str}
    for _, line in _lines(journal_folder() / HEADS, needed, start):
        yield cast("PublishedHead", line)  # the four fields were checked on the way


def _facts(start: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the byte at which each fact begins, and the fact."""
    return _lines(journal_folder() / FACTS, {"kind": str, "at": str}, start)


def text_of(fact: Fact, name: str) -> str:
    """Return a text field of a fact.

    Raises:
        KeyError: the field is missing.
        InvalidError: it is not a text.
    """
    return intake.read_text(fact[name], name)


def on_resume(kind: str, handler: Callable[[dict[str, object]], bool]) -> None:
    """Register how a package applies facts of a kind to a restored database.

    Args:
        kind: of the fact.
        handler: applies one fact if the database lacks it; returns True when it changed something.
    """
    _handlers[kind] = handler


@dataclass(slots=True)
class Applied:
    """The result of applying facts.

    Args:
        changed: facts that the database lacked, by kind.
        refused: facts that could not be applied, a sentence each; the database cannot hold them.
        read: facts that were looked at, whether applied or too old.
        first: byte at which the first fact begins that was not too old; None when all were.
    """

    changed: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    read: int = 0
    first: int | None = None


def apply_facts(since: datetime | None = None, start: int = 0) -> Applied:
    """Apply facts to the database, oldest first.

    Args:
        since: when the oldest of them was written; None for all.
        start: byte of the file from which on they are read.
    """
    applied = Applied()
    for begin, fact in _facts(start):
        applied.read += 1
        if since and _is_older(fact, since):
            continue
        if applied.first is None:
            applied.first = begin
        _apply_fact(fact, applied)
    return applied


def _is_older(fact: Fact, since: datetime) -> bool:
    """Return whether a fact is older than a time. A fact without a readable time is not: applying it is safe."""
    try:
        return datetime.fromisoformat(str(fact["at"])) < since
    except (ValueError, TypeError):
        return False


def _apply_fact(fact: dict[str, object], applied: Applied) -> None:
    kind = str(fact["kind"])
    handler = _handlers.get(kind)
    if handler is None:
        return
    try:
        with transaction.atomic():
            changed = handler(fact)
    except (DomainError, ObjectDoesNotExist, IntegrityError, KeyError, ValueError) as error:
        _logger.exception("a fact of the journal cannot be applied", extra={"kind": kind})
        applied.refused.append(f"The fact {kind} of {fact['at']} cannot be applied: {error}.")
        return
    if changed:
        applied.changed[kind] = applied.changed.get(kind, 0) + 1


def _lines(path: Path, needed: dict[str, type], start: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the byte offset and the content of each complete line."""
    if not path.exists():
        return
    begin = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            try:
                entry = strict_json.read_json(line, max_bytes=MOST_LINE)
            except InvalidError:
                entry = None
            if isinstance(entry, dict) and all(type(entry.get(name)) is kind for name, kind in needed.items()):
                yield begin, entry
            else:
                _logger.warning("a line of the journal is truncated", extra={"file": path.name, "byte": begin})
            begin += len(line)
