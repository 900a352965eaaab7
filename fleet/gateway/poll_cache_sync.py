"""Keep a door's memory true: load the poll cache, follow the change feed, check a part of it all the time."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import connections

from devices import selectors as devices
from fleet.gateway.poll_cache import PollCache
from ota.services import idle
from pki import selectors as ground
from pki.services.changes import Feed

LOOK_SECONDS = 0.02
#: the whole table is compared with the database in about this time, a part each second
COMPARED_SECONDS = 3600
LEAST_PART, MOST_PART = 100, 500
#: what stays open is asked for again this often, whatever the feed says
SWEEP_SECONDS = 60
_logger = logging.getLogger("muster.poll_cache")


class Follower:
    """One thread that reads the feed for a door.

    Args:
        table: to keep true.
        open_now: returns the fingerprints (hex) of what is connected.
        cut: called with fingerprints that may not stay connected.
        changed: called with the fingerprints that the table says something new about.
    """

    def __init__(
        self,
        table: PollCache,
        open_now: Callable[[], set[str]],
        cut: Callable[[set[str]], None],
        changed: Callable[[set[str]], None],
    ) -> None:
        self._table, self._open_now, self._cut, self._changed = table, open_now, cut, changed
        self._feed = Feed()
        self._loaded, self._place = False, 0
        self._compared = self._swept = time.monotonic()
        self._stopped = False

    def start(self) -> None:
        """Begin in a thread of its own; it ends with the process, or when told to stop."""
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
                # What is in memory stays: it says "nothing for you" only, and what asks the database fails too.
                _logger.exception("the change feed cannot be read")
                connections.close_all()
                self._loaded = False
                time.sleep(1)
        connections.close_all()

    def look(self) -> None:
        """Take what is new, and compare the next part."""
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
        for row in idle.rows():
            fresh.put(row)
        extra = {"certificates": len(fresh)}
        self._table.replace(fresh)
        self._table.reached_by(_hosts())
        self._loaded, self._place = True, 0
        _logger.info("poll cache loaded", extra={**extra, "ms": round((time.monotonic() - started) * 1000)})
        self._changed(self._open_now())

    def _hear(self) -> set[str]:
        """Take what the feed has; return the fingerprints that it concerned."""
        news = self._feed.news()
        if not news.everything:
            return self._take(news.subjects)
        self._load()
        self._sweep()
        return set()

    def _take(self, subjects: tuple[str, ...]) -> set[str]:
        concerned = set()
        for start in range(0, len(subjects), 500):
            for row in idle.rows(subjects[start : start + 500]):
                self._table.put(row)
                concerned.add(row[0].hex())
        if connected := concerned & self._open_now():
            self._cut(devices.barred(connected))
            self._changed(connected)
        return concerned

    def _compare(self) -> None:
        """Compare a part with the database: what differs was missed, and is worth an error in the log."""
        many = min(max(len(self._table) // COMPARED_SECONDS, LEAST_PART), MOST_PART)
        place, rows = idle.part(self._place, many)
        self._place = place
        differing = {row[0].hex() for row in rows if self._table.put(row)}
        if differing and (missed := differing - self._hear()):  # what was committed a moment ago is news, and no fault
            _logger.error("the poll cache differed from the database", extra={"certificates": len(missed)})
            self._cut(devices.barred(missed & self._open_now()))
            self._changed(missed & self._open_now())

    def _sweep(self) -> None:
        """Ask for everything that is connected whether it still may be."""
        self._swept = time.monotonic()
        self._cut(devices.barred(self._open_now()))


def _hosts() -> dict[str, int]:
    domains = ground.domains()
    hosts = {name.lower(): domain.pk for domain in domains for name in domain.host_names}
    return hosts | ({"": domains[0].pk} if len(domains) == 1 else {})
