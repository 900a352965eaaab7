"""The change feed: services write which devices changed; listeners read it without gaps (see poll caches).

A later commit can carry an earlier number. On SQLite there is one writer at a time, so row ids follow the commits. On
PostgreSQL a reader looks back as far as the oldest transaction that still runs, and remembers what it has read there.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from django.db import connections

from pki.kernel import clock
from pki.models import Change, prepared_sql

#: retention of rows; a reader that slept longer reads everything again
KEPT = timedelta(hours=1)
#: more than this at once is cheaper to read again completely
MOST_AT_ONCE = 50_000
#: rows that one commit removes
PRUNED = 1000
_INSERT = f"INSERT INTO {Change._meta.db_table} (subject, at) "


def note_changes(*subjects: str) -> None:
    """Announce to the listeners that these devices changed, inside the transaction that changes them.

    Args:
        *subjects: public ids; none for everything.
    """
    now = connections["default"].ops.adapt_datetimefield_value(clock.now())
    rows: list[list[object]] = [[subject, now] for subject in subjects or ("",)]
    prepared_sql.write_many(prepared_sql.PreparedInsert(_INSERT, rows, types=("text", "timestamptz")))


def prune_changes() -> int:
    """Delete rows that every reader has had time to read, in small commits; return their number."""
    gone, late = 0, Change.objects.filter(at__lt=clock.now() - KEPT)
    while keys := list(late.order_by("id").values_list("id", flat=True)[:PRUNED]):
        gone += Change.objects.filter(id__in=keys).delete()[0]
    return gone


@dataclass(frozen=True, slots=True)
class News:
    """Changes since a reader's last call.

    Args:
        subjects: public ids of devices.
        everything: whether the reader must read all devices again.
    """

    subjects: tuple[str, ...] = ()
    everything: bool = False


@dataclass(slots=True)
class ChangeFeed:
    """A reader's position in the feed; it uses the database connection of the calling thread.

    Args:
        place: on SQLite the last row read, on PostgreSQL the oldest transaction that was still running.
        read: rows at or after that place which have been read already (PostgreSQL).
        version: SQLite's own count of commits by others; equal means that nothing was written.
    """

    place: int = 0
    read: set[int] = field(default_factory=set)
    version: int = -1
    heard_at: float = 0.0

    def begin(self) -> None:
        """Start at the current position. Read the tables after this call, not before."""
        self.version, self.read = -1, set()
        with connections["default"].cursor() as cursor:
            if _postgresql():
                cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            else:
                cursor.execute(f"SELECT coalesce(max(id), 0) FROM {Change._meta.db_table}")  # noqa: S608  because the name is Django's own
            self.place = cursor.fetchone()[0]
        self.heard_at = clock.now().timestamp()

    def news(self) -> News:
        """Return the changes since the last call; it is cheap when there are none."""
        now = clock.now().timestamp()
        slept, self.heard_at = now - self.heard_at, now
        if not 0 <= slept < KEPT.total_seconds() / 2:
            return News(everything=True)
        changes = self._postgresql() if _postgresql() else self._sqlite()
        if len(changes) > MOST_AT_ONCE or "" in changes:
            return News(everything=True)
        return News(tuple(dict.fromkeys(changes)))

    def _sqlite(self) -> list[str]:
        line = connections["default"]
        line.ensure_connection()
        # Directly with the driver: this runs fifty times per second, and nearly always there is no change.
        version = line.connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self.version:
            return []
        rows = Change.objects.filter(id__gt=self.place).order_by("id").values_list("id", "subject")
        rows_read = list(rows[: MOST_AT_ONCE + 1])
        self.version = version
        self.place = rows_read[-1][0] if rows_read else self.place
        return [subject for _, subject in rows_read]

    def _postgresql(self) -> list[str]:
        statement = (
            f"SELECT id, writer, subject, pg_snapshot_xmin(pg_current_snapshot())::text::bigint "  # noqa: S608  because the name is Django's own
            f"FROM {Change._meta.db_table} WHERE writer >= %s ORDER BY id LIMIT %s"
        )
        with connections["default"].cursor() as cursor:
            cursor.execute(statement, [self.place, MOST_AT_ONCE + len(self.read) + 1])
            rows = cursor.fetchall()
        subjects = [subject for key, _, subject, _ in rows if key not in self.read]
        if rows:
            self.place = rows[0][3]
            self.read = {key for key, writer, _, _ in rows if writer >= self.place}
        return subjects


def _postgresql() -> bool:
    return connections["default"].vendor == "postgresql"
