"""Token buckets in a table of fixed size: how much somebody may ask for, and when again."""

import time
from collections import OrderedDict
from collections.abc import Callable

#: rows of a table, about 200 bytes each; whoever was not heard longest makes room
MOST_ROWS = 20_000
#: rows that each charge looks at, to forget those whose buckets are full again
LOOKED_AT = 2


class Buckets:
    """One bucket for each key; a key without a row has a full one.

    Args:
        rate: tokens that come back in a second.
        burst: tokens of a full bucket.
        most: rows that are kept.
        now: clock in seconds.
    """

    def __init__(
        self, rate: float, burst: float, *, most: int = MOST_ROWS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._most, self._now = rate, burst, most, now
        self._rows: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def wait(self, key: str) -> float:
        """Return in how many seconds a request of this key is welcome; 0: now."""
        row = self._rows.get(key)
        if row is None:
            return 0.0
        level = self._level(row)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def charge(self, key: str, cost: float = 1.0) -> None:
        """Take tokens. A bucket owes at most a tenth of what it holds, so that nobody waits for long."""
        row = self._rows.pop(key, None)
        level = (self._burst if row is None else self._level(row)) - cost
        self._rows[key] = max(level, -self._burst / 10), self._now()
        for _ in range(LOOKED_AT):
            oldest = next(iter(self._rows))
            if len(self._rows) > self._most or self._level(self._rows[oldest]) >= self._burst:
                del self._rows[oldest]
            if not self._rows:
                break

    def _level(self, row: tuple[float, float]) -> float:
        level, since = row
        return min(self._burst, level + (self._now() - since) * self._rate)
