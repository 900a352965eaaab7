"""Results of a load test: answers by action and status, injected faults, poll latency."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

#: number of poll latencies that are kept; later ones replace earlier ones
MOST_KEPT = 200_000
EACH_S = 5.0


@dataclass(slots=True)
class LoadTally:
    """Counters of a running load test."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    polls_ms: list[float] = field(default_factory=list)
    polls: int = 0

    def polled(self, status: int, seconds: float) -> None:
        """Count a poll."""
        self.answers[f"poll {status}"] += 1
        if not status:
            return  # a timeout is not a latency
        milliseconds = round(seconds * 1000, 2)
        if self.polls < MOST_KEPT:
            self.polls_ms.append(milliseconds)
        else:
            self.polls_ms[self.polls % MOST_KEPT] = milliseconds
        self.polls += 1

    def summary(self) -> dict[str, object]:
        """Return the results for JSON."""
        polls = sorted(self.polls_ms) or [0.0]
        p50, p99 = polls[len(polls) // 2], polls[int(len(polls) * 0.99)]
        return {"answers": dict(self.answers), "faults": dict(self.faults), "poll_p50_ms": p50, "poll_p99_ms": p99}


class ProgressPrinter:
    """Print the progress on stderr every few seconds."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._next = quiet, time.monotonic() + EACH_S

    def say(self, text: str) -> None:
        """Print a message, unless one was printed a moment ago."""
        if not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + EACH_S
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
