"""How far the sequencer need not look back, so that no entry is ever passed over (decision 0016).

On SQLite there is one writer at a time: ids follow the commits. On PostgreSQL an entry can be committed after others
with higher ids; its writer was running when those were read. So an id counts as settled only when every
transaction that had begun to write by then has ended, and one more look has been made since.
"""

from dataclasses import dataclass

from django.db import connection

from pki.kernel.recent import Recent

#: seconds after which a process reads all entries again, independent of what it remembers
WHOLE_S = 3600.0
_SNAPSHOT = (
    "SELECT pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint"
    " FROM (SELECT pg_current_snapshot() AS now) AS present"
)


@dataclass(slots=True)
class SequencerPlace:
    """The sequencer's place in one domain.

    Args:
        settled: entries with ids up to here have their places, or were rolled back; 0 at first: look at all.
    """

    settled: int = 0
    _ahead: int = 0
    _writers_end: int | None = None
    _oldest: int = 0

    def begin(self) -> None:
        """Begin a look: call this before the entries are read."""
        if connection.vendor == "postgresql":
            self._oldest, _ = _snapshot()

    def finish(self, ordered: int) -> None:
        """End a look that left no entry without a place.

        Args:
            ordered: the highest id that is known to have its place.
        """
        if connection.vendor != "postgresql":
            self.settled = max(self.settled, ordered)
            return
        if self._writers_end is not None and self._oldest >= self._writers_end:
            self.settled, self._writers_end = self._ahead, None
        if self._writers_end is None and ordered > self.settled:
            self._ahead = ordered
            _, self._writers_end = _snapshot()


_places: Recent[int, SequencerPlace] = Recent(WHOLE_S)


def place_of(domain: int) -> SequencerPlace:
    """Return this process's place in the ledger of a domain (internal id); at the beginning once in an hour."""
    return _places.get(domain, SequencerPlace)


def _snapshot() -> tuple[int, int]:
    """Return the oldest transaction that still runs, and the first that has not begun (transaction ids)."""
    with connection.cursor() as cursor:
        cursor.execute(_SNAPSHOT)
        oldest, end = cursor.fetchone()
    return oldest, end
