"""Output of quickstart: steps with check marks, the equivalent commands, and progress bars."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_WIDTH = 28


@dataclass(slots=True)
class Voice:
    """Print progress for people; a terminal shows moving bars, other outputs get one line per step."""

    started: float = field(default_factory=time.monotonic)
    live: bool = field(default_factory=sys.stdout.isatty)
    progressed: float = field(default_factory=time.monotonic, init=False)
    _bars: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)

    def seconds(self) -> float:
        """Return the seconds since the start of the demo."""
        return time.monotonic() - self.started

    def title(self, text: str) -> None:
        """Print a heading."""
        self._line(f"\n{text}")

    def note(self, text: str) -> None:
        """Print one indented remark."""
        self._line(f"    {text}")

    @contextmanager
    def step(self, text: str, command: str = "") -> Iterator[None]:
        """Print a check mark if the block succeeds, a cross if it fails, and the equivalent command."""
        if self.live:
            print(f"  … {text}", end="\r", flush=True)
        try:
            yield
        except BaseException:
            self._line(f"  ✗ {text}")
            raise
        self._line(f"  ✓ {text}  ({self.seconds():.1f} s)")
        if command:
            self._line(f"      $ {command}")

    def bar(self, text: str, done: int, whole: int) -> None:
        """Show the progress of a long step; silent without a terminal."""
        if self._bars.get(text) != (done, whole):
            self._bars[text] = (done, whole)
            self.progressed = time.monotonic()
        if self.live and whole:
            filled = _WIDTH * min(done, whole) // whole
            print(
                f"  … [{'█' * filled}{'·' * (_WIDTH - filled)}] {done}/{whole} {text}\033[K",
                end="\r",
                flush=True,
            )

    def idle_seconds(self) -> float:
        """Return the seconds since anything new was shown."""
        return time.monotonic() - self.progressed

    def _line(self, text: str) -> None:
        self.progressed = time.monotonic()
        print(f"{text}\033[K" if self.live else text, flush=True)
