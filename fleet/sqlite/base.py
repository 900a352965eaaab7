"""Django's SQLite backend with shorter waits for the write lock.

SQLite has one writer at a time. Its busy handler retries after pauses that grow to 0.1 s, and misses every shorter gap
between two commits of a busy job. This backend retries every few milliseconds.
"""

import os
import random
import sqlite3
import threading
import time
from collections import defaultdict

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

#: seconds between two attempts of a waiting writer, with jitter, so that writers do not retry together
LOOK = (0.001, 0.004)
#: one waiting thread of this process retries per database; the others wait for it, which costs nothing
_turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
os.register_at_fork(after_in_child=_turns.clear)


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of one thread."""

    transaction_mode: str | None

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction as soon as the previous writer ends. Fail after the connection's timeout."""
        timeout = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        turn, deadline = _turns[str(self.settings_dict["NAME"])], time.monotonic() + timeout
        if not turn.acquire(timeout=timeout):
            msg = "database is locked"
            raise OperationalError(msg)
        try:
            self._begin(deadline, timeout)
        finally:
            turn.release()

    def _begin(self, deadline: float, timeout: float) -> None:
        """Retry on the raw connection, because each failed attempt raises an error through every Django layer."""
        line = self.connection
        with self.wrap_database_errors:
            try:
                line.execute("PRAGMA busy_timeout = 0")
                while True:
                    try:
                        line.execute(f"BEGIN {self.transaction_mode or 'DEFERRED'}")
                    except sqlite3.OperationalError as error:
                        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                            raise
                        time.sleep(random.uniform(*LOOK))  # noqa: S311  because jitter needs no secure randomness
                    else:
                        return
            finally:
                # Outside of a transaction, SQLite itself waits.
                line.execute(f"PRAGMA busy_timeout = {timeout * 1000:.0f}")
