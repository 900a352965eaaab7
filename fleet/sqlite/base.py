"""Django's SQLite backend, with writers that come in soon after the one before them.

SQLite has one writer at a time. A writer that waits looks again after pauses of its own that grow to 0.1 s, and misses
every shorter gap between two commits of a busy job. Here it looks every few milliseconds.
"""

import random
import sqlite3
import time
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

#: between two looks of a writer that waits, in seconds; spread, so that those who wait do not look together
LOOK = (0.001, 0.004)


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of one thread."""

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction as soon as the writer before has ended; give up after the connection's timeout."""
        timeout = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        deadline = time.monotonic() + timeout
        self._wait_inside(0)
        try:
            while True:
                try:
                    super()._start_transaction_under_autocommit()  # type: ignore[misc]  # Django's stubs leave it out
                except OperationalError as error:
                    if not _is_busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(*LOOK))  # noqa: S311  because jitter is no secret
                else:
                    return
        finally:
            self._wait_inside(timeout)

    def _wait_inside(self, seconds: float) -> None:
        """Say how long SQLite itself waits: where no transaction is begun, it does."""
        self.connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


def _is_busy(error: OperationalError) -> bool:
    cause: Any = error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0)
    return bool(code & 0xFF == sqlite3.SQLITE_BUSY)
