"""Keep the poll cache consistent: load it, follow the change feed, and check a part of it continuously."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import connections

from devices import selectors as devices
from fleet.gateway.poll_cache import PollCache
from ota.services import idle
from pki import selectors as ground
from pki.services.changes import ChangeFeed

LOOK_SECONDS = 0.02
#: seconds in which the whole cache is compared with the database, one part per second
COMPARED_SECONDS = 3600
LEAST_PART, MOST_PART = 100, 500
#: seconds between access checks of open connections, independent of the feed
SWEEP_SECONDS = 60
_logger = logging.getLogger("muster.poll_cache")


class Follower:
    """The thread that reads the change feed for a listener.

    Args:
        table: the poll cache.
        open_now: returns the fingerprints (hex) of the open connections.
        cut: called with fingerprints that must be disconnected.
        changed: called with the fingerprints whose rows changed.
    """

    def __init__(
        self,
        table: PollCache,
        open_now: Callable[[], set[str]],
        cut: Callable[[set[str]], None],
        changed: Callable[[set[str]], None],
    ) -> None:
        self._table, self._open_now, self._cut, self._changed = table, open_now, cut, changed
        self._feed = ChangeFeed()
        self._loaded, self._place = False, 0
        self._compared = self._swept = time.monotonic()
        self._stopped = False

    def start(self) -> None:
        """Start the thread; it ends with the process or after ``stop``."""
        threading.Thread(target=self._run, name="poll-cache", daemon=True).start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:
                # Keep the cache: it only answers "no pending work", and requests to the database fail as well.
                _logger.exception("cannot read the change feed")
                connections.close_all()
                self._loaded = False
                time.sleep(1)
        connections.close_all()

    def look(self) -> None:
        """Apply new changes, and compare the next part."""
        if not self._loaded:
            self._load()
        self._hear()
        now = time.monotonic()
        if now - self._compared >= 1:
            self._compared = now
            self._compare()
        if now - self._swept >= SWEEP_SECONDS:
            self._sweep()

    def _load(self) -> None:
        started = time.monotonic()
        self._feed.begin()
        fresh = PollCache()
        for row in idle.idle_rows():
            fresh.put(row)
        extra = {"certificates": len(fresh)}
        self._table.replace(fresh)
        self._table.reached_by(_hosts())
        self._loaded, self._place = True, 0
        _logger.info("poll cache loaded", extra={**extra, "ms": round((time.monotonic() - started) * 1000)})
        self._changed(self._open_now())

    def _hear(self) -> set[str]:
        """Apply the changes of the feed. Return their fingerprints."""
        news = self._feed.news()
        if not news.everything:
            return self._take(news.subjects)
        self._load()
        self._sweep()
        return set()

    def _take(self, subjects: tuple[str, ...]) -> set[str]:
        concerned = set()
        for start in range(0, len(subjects), 500):
            for row in idle.idle_rows(subjects[start : start + 500]):
                self._table.put(row)
                concerned.add(row[0].hex())
        if connected := concerned & self._open_now():
            self._cut(devices.barred_fingerprints(connected))
            self._changed(connected)
        return concerned

    def _compare(self) -> None:
        """Compare a part with the database. A difference is a missed change, and is logged as an error."""
        many = min(max(len(self._table) // COMPARED_SECONDS, LEAST_PART), MOST_PART)
        place, rows = idle.idle_part(self._place, many)
        self._place = place
        differing = {row[0].hex() for row in rows if self._table.put(row)}
        if differing and (missed := differing - self._hear()):  # a recent commit is a new change, not a difference
            _logger.error("the poll cache differed from the database", extra={"certificates": len(missed)})
            self._cut(devices.barred_fingerprints(missed & self._open_now()))
            self._changed(missed & self._open_now())

    def _sweep(self) -> None:
        """Check whether each connected device still has access."""
        self._swept = time.monotonic()
        self._cut(devices.barred_fingerprints(self._open_now()))


def _hosts() -> dict[str, int]:
    domains = ground.list_domains()
    hosts = {name.lower(): domain.pk for domain in domains for name in domain.host_names}
    return hosts | ({"": domains[0].pk} if len(domains) == 1 else {})
