"""Token buckets in a table of fixed size, for rate limits."""

import time
from collections import OrderedDict
from collections.abc import Callable

#: rows of a table, about 200 bytes each; the least recently used row is replaced
MOST_ROWS = 20_000
#: rows that each charge checks, to remove those with a full bucket
LOOKED_AT = 2


class Buckets:
    """One bucket for each key; a key without a row has a full one.

    Args:
        rate: refilled tokens per second.
        burst: capacity of a bucket in tokens.
        most: largest number of rows.
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
        """Return the seconds until a request of this key is allowed; 0 for now."""
        row = self._rows.get(key)
        if row is None:
            return 0.0
        level = self._level(row)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def charge(self, key: str, cost: float = 1.0) -> None:
        """Take tokens. A bucket owes at most a tenth of its capacity, so that waits stay short."""
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
