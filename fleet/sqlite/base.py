"""Django's SQLite backend, with writers that come in soon after the one before them.

SQLite has one writer at a time. A writer that waits looks again after pauses of its own that grow to 0.1 s, and misses
every shorter gap between two commits of a busy job. Here it looks every few milliseconds.
"""

import os
import random
import sqlite3
import threading
import time
from collections import defaultdict

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

#: between two looks of a writer that waits, in seconds; spread, so that those who wait do not look together
LOOK = (0.001, 0.004)
#: of the threads of this process that wait for a database one looks; the others wait for it, which costs nothing
_turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
os.register_at_fork(after_in_child=_turns.clear)


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of one thread."""

    transaction_mode: str | None

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction as soon as the writer before has ended; give up after the connection's timeout."""
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
        """Look again and again, without the layers between: each look that fails raises an error."""
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
                        time.sleep(random.uniform(*LOOK))  # noqa: S311  because jitter is no secret
                    else:
                        return
            finally:
                # Where no transaction is begun, SQLite itself waits.
                line.execute(f"PRAGMA busy_timeout = {timeout * 1000:.0f}")
