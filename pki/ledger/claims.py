"""Heads that others claim for a tree, kept on disk: there may be more of them than memory holds.

An unnamed database of SQLite is a private temporary file (in ``SQLITE_TMPDIR``, ``TMPDIR``, ``/var/tmp`` or ``/tmp``,
whichever is there first). It is removed when it is closed, however the process ends.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import NamedTuple, Self

#: KB of the file that stay in memory
CACHE_KB = 4000
_TABLES = """
    CREATE TABLE published (epoch INTEGER, size INTEGER, root TEXT);
    CREATE TABLE witnessed (name TEXT, epoch INTEGER, size INTEGER, root TEXT);
    CREATE TABLE wanted (size INTEGER PRIMARY KEY);
    CREATE TABLE roots (size INTEGER PRIMARY KEY, root TEXT);
"""


class ClaimedHead(NamedTuple):
    """A head: the root (hex) over the first ``size`` leaves of an epoch."""

    epoch: int
    size: int
    root: str


class Witnessed(NamedTuple):
    """A head that another party remembers: its name, the head, and the tree's root at that size, if any."""

    name: str
    epoch: int
    size: int
    root: str
    true: str | None


class Claims:
    """The claims about one tree, and its true roots at the claimed sizes.

    Add all claims first, then the roots of the tree at each of ``sizes``, then ask.
    """

    def __init__(self) -> None:
        self._file = sqlite3.connect("")
        self._file.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{CACHE_KB}; {_TABLES}")

    def __enter__(self) -> Self:
        """Return itself; at the end of the block the file is gone."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add_published(self, heads: Iterable[ClaimedHead]) -> None:
        """Add published heads, in their order."""
        self._file.executemany("INSERT INTO published VALUES (?, ?, ?)", heads)
        self._file.execute("CREATE INDEX published_heads ON published (epoch, size, root)")
        self._file.execute("INSERT OR IGNORE INTO wanted SELECT size FROM published")

    def add_witnessed(self, heads: Iterable[tuple[str, ClaimedHead]]) -> None:
        """Add heads that others remember, each with the name of its source."""
        self._file.executemany("INSERT INTO witnessed VALUES (?, ?, ?, ?)", ((name, *head) for name, head in heads))
        self._file.execute("INSERT OR IGNORE INTO wanted SELECT size FROM witnessed")

    def want(self, sizes: Iterable[int]) -> None:
        """Request the root at further sizes."""
        self._file.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((size,) for size in sizes))

    def sizes(self) -> Iterator[int]:
        """Yield the sizes whose root is requested, ascending."""
        with closing(self._file.execute("SELECT size FROM wanted ORDER BY size")) as rows:
            yield from (size for (size,) in rows)

    def add_roots(self, roots: Iterable[tuple[int, str]]) -> None:
        """Add sizes and the roots (hex) that the tree has there."""
        self._file.executemany("INSERT INTO roots VALUES (?, ?)", roots)

    def root(self, size: int) -> str | None:
        """Return the tree's root at a size; None where it was not requested, or the tree is smaller."""
        row = self._file.execute("SELECT root FROM roots WHERE size = ?", (size,)).fetchone()
        return row[0] if row else None

    def is_published(self, head: ClaimedHead) -> bool:
        """Return whether this exact head was published."""
        cursor = self._file.execute("SELECT 1 FROM published WHERE epoch = ? AND size = ? AND root = ?", head)
        return cursor.fetchone() is not None

    def has_epoch(self, epoch: int) -> bool:
        """Return whether any head of an epoch was published."""
        return self._file.execute("SELECT 1 FROM published WHERE epoch = ?", (epoch,)).fetchone() is not None

    def last_published(self, least: int, below: int) -> ClaimedHead | None:
        """Return the newest published head of some epochs, from ``least`` on; of two of one size the first."""
        question = "SELECT epoch, size, root FROM published WHERE epoch >= ? AND epoch < ?"
        rows = self._file.execute(f"{question} ORDER BY epoch DESC, size DESC, rowid LIMIT 1", (least, below))
        row = rows.fetchone()
        return ClaimedHead(*row) if row else None

    def published(self) -> Iterator[tuple[ClaimedHead, str | None]]:
        """Yield each published head, in order, and the root that the tree has at its size, if any."""
        question = (
            "SELECT p.epoch, p.size, p.root, r.root FROM published p LEFT JOIN roots r USING (size) ORDER BY p.rowid"
        )
        with closing(self._file.execute(question)) as rows:
            yield from ((ClaimedHead(epoch, size, root), true) for epoch, size, root, true in rows)

    def witnessed(self) -> Iterator[Witnessed]:
        """Yield each remembered head, in the order in which they were added."""
        question = (
            "SELECT w.name, w.epoch, w.size, w.root, r.root FROM witnessed w LEFT JOIN roots r USING (size)"
            " ORDER BY w.rowid"
        )
        with closing(self._file.execute(question)) as rows:
            yield from (Witnessed(*row) for row in rows)
