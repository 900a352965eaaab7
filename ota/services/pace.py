"""Limit the transactions of long steps, so that they stay short under the current load."""

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from ota.models import Assignment

#: a transaction should take so many seconds: on SQLite all other writers wait, elsewhere those of the same rows only
WISHED_SECONDS, WISHED_BESIDE_OTHERS = 0.03, 0.06
#: devices of a transaction, however long they take
LEAST = 20
#: rows that are read at once, outside of the transactions: to find the first few of many costs as much as to find these
READ = 5000


@dataclass(slots=True)
class TransactionPace:
    """The number of devices of the next transaction.

    Args:
        most: of one transaction.
        devices: of the next one; the first is small, since it reads what no other has read yet.
    """

    most: int
    devices: int = 50

    def took(self, seconds: float) -> None:
        """Adjust to the duration of the last transaction."""
        wished = WISHED_SECONDS if connection.vendor == "sqlite" else WISHED_BESIDE_OTHERS
        if seconds > wished:
            self.devices = max(int(self.devices * max(wished / seconds, 0.25)), LEAST)
        else:
            self.devices = min(int(self.devices * 1.5), self.most)


class ReadAhead:
    """Pending rows of a step, in the order of internal ids.

    Args:
        rows: to read from.
        *names: of the fields; the first is ``id``.
    """

    def __init__(self, rows: QuerySet[Assignment], *names: str) -> None:
        self._rows, self._names = rows.order_by("id"), names
        self._held: list[tuple[Any, ...]] = []  # untyped: of the fields that the caller names
        self._place = self._last = 0

    def first(self, many: int) -> list[tuple[Any, ...]]:  # untyped: as above
        """Return the next pending rows; empty when all are done."""
        if self._place >= len(self._held):
            self._held = list(self._rows.filter(id__gt=self._last).values_list(*self._names)[:READ])
            self._place = 0
        return self._held[self._place : self._place + many]

    def done(self, last: int) -> None:
        """Continue after the row with this internal id."""
        self._last = last
        while self._place < len(self._held) and self._held[self._place][0] <= last:
            self._place += 1
