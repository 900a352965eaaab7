"""Facts outside the database (decision 0003): an append-only file that a restore cannot take back."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from pki.kernel import clock, files

_logger = logging.getLogger(__name__)
_handlers: dict[str, Callable[[dict[str, Any]], bool]] = {}


def folder() -> Path:
    """Return the journal's folder."""
    return files.private_folder(settings.FLEET_DIR / "journal")


def append(kind: str, **fields: object) -> None:
    """Add one fact and wait until the disk has it; called before the transaction commits."""
    line = {"kind": kind, "at": clock.now().isoformat(), **fields}
    files.append_line(folder() / "journal.jsonl", json.dumps(line, sort_keys=True).encode())


def append_head(head: dict[str, object]) -> None:
    """Add one signed ledger head to ``heads.jsonl``."""
    files.append_line(folder() / "heads.jsonl", json.dumps(head, sort_keys=True).encode())


def read() -> Iterator[dict[str, Any]]:
    """Yield every fact, oldest first; a last line cut by a crash is passed over."""
    yield from _lines(folder() / "journal.jsonl")


def heads() -> list[dict[str, Any]]:
    """Return every head that was ever published, oldest first."""
    return list(_lines(folder() / "heads.jsonl"))


def on_resume(kind: str, handler: Callable[[dict[str, Any]], bool]) -> None:
    """Let a floor say how a fact of a kind is applied to a restored database.

    Args:
        kind: of the fact.
        handler: applies one fact if the database lacks it; returns True when it changed something.
    """
    _handlers[kind] = handler


def apply() -> dict[str, int]:
    """Apply every fact to the database; return how many of each kind were missing."""
    changed: dict[str, int] = {}
    for fact in read():
        handler = _handlers.get(fact.get("kind", ""))
        if handler and handler(fact):
            changed[fact["kind"]] = changed.get(fact["kind"], 0) + 1
    return changed


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError:
                _logger.warning("a line of the journal is cut", extra={"file": path.name, "line": number})
