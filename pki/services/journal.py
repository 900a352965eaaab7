"""Facts outside the database (decision 0003): an append-only file that a restore cannot take back."""

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
#: one fact: ``kind`` and ``at``, and what whoever wrote it has put beside them
Fact = Mapping[str, object]
_handlers: dict[str, Callable[[dict[str, object]], bool]] = {}
#: bytes of one line
MOST_LINE = 1 << 20


def folder() -> Path:
    """Return the journal's folder."""
    return files.private_folder(settings.FLEET_DIR / "journal")


def append(kind: object, **fields: object) -> None:
    """Add one fact and wait until the disk has it; called before the transaction commits."""
    line = {"kind": kind, "at": clock.now().isoformat(), **fields}
    growing = _growing(settings.FLEET_DIR / "journal" / "journal.jsonl")
    growing.add(json.dumps(line, sort_keys=True).encode())
    growing.sync()


def append_head(head: dict[str, object]) -> None:
    """Add one signed ledger head to ``heads.jsonl``."""
    growing = _growing(folder() / "heads.jsonl")
    growing.add(json.dumps(head, sort_keys=True).encode())
    growing.sync()


@cache
def _growing(path: Path) -> files.Growing:
    files.private_folder(path.parent)
    return files.Growing(path)


def read() -> Iterator[dict[str, object]]:
    """Yield every fact, oldest first; a line cut by a crash is passed over."""
    yield from _lines(folder() / "journal.jsonl", {"kind": str, "at": str})


def heads() -> Iterator[PublishedHead]:
    """Yield every head that was ever published, oldest first: there may be more than memory holds."""
    for line in _lines(folder() / "heads.jsonl", {"domain": str, "epoch": int, "size": int, "root": str}):
        yield cast("PublishedHead", line)  # the four fields were checked on the way


def text_of(fact: Fact, name: str) -> str:
    """Return a field of a fact that is a text.

    Raises:
        KeyError: it is not there.
        InvalidError: it is none.
    """
    return intake.text(fact[name], name)


def on_resume(kind: str, handler: Callable[[dict[str, object]], bool]) -> None:
    """Let a floor say how a fact of a kind is applied to a restored database.

    Args:
        kind: of the fact.
        handler: applies one fact if the database lacks it; returns True when it changed something.
    """
    _handlers[kind] = handler


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of applying facts.

    Args:
        changed: facts that the database lacked, by kind.
        refused: facts that could not be applied, a sentence each; the database cannot hold them.
    """

    changed: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def apply(since: datetime | None = None) -> Applied:
    """Apply the facts written since a time (all of them without one) to the database, oldest first."""
    applied = Applied()
    for fact in read():
        kind, at = str(fact["kind"]), str(fact["at"])
        handler = _handlers.get(kind)
        if handler is None or (since and datetime.fromisoformat(at) < since):
            continue
        try:
            with transaction.atomic():
                changed = handler(fact)
        except (DomainError, ObjectDoesNotExist, IntegrityError, KeyError, ValueError) as error:
            _logger.exception("a fact of the journal cannot be applied", extra={"kind": kind})
            applied.refused.append(f"The fact {kind} of {at} cannot be applied: {error}.")
            continue
        if changed:
            applied.changed[kind] = applied.changed.get(kind, 0) + 1
    return applied


def _lines(path: Path, needed: dict[str, type]) -> Iterator[dict[str, object]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = strict_json.read_json(line, max_bytes=MOST_LINE)
            except InvalidError:
                found = None
            if isinstance(found, dict) and all(type(found.get(name)) is kind for name, kind in needed.items()):
                yield found
            else:
                _logger.warning("a line of the journal is cut", extra={"file": path.name, "line": number})
