"""What every line of a simulated device can do, and what it is told."""

import random
import ssl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: seconds until a device gives an answer up
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a device's door is and what the device holds.

    Args:
        host: of the door.
        https: port of the HTTPS door.
        coaps: port of the CoAP door.
        anchor: PEM file of the only trusted root.
        identity: PEM file with chain and key.
        source: of this device's chance.
        shaken: faults of datagrams: ``loss``, ``repeat``, ``shuffle``.
        played: counts them.
    """

    host: str
    https: int
    coaps: int
    anchor: Path
    identity: Path
    source: random.Random
    shaken: tuple[str, ...] = ()
    played: Counter[str] = field(default_factory=Counter)

    def tls(self) -> ssl.SSLContext:
        """Return a context with this device's certificate."""
        context = ssl.create_default_context(cafile=str(self.anchor))
        context.load_cert_chain(self.identity)
        return context


class Line(Protocol):
    """A device's line; it opens when it is used and again after it was lost."""

    async def ask(self, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> int:
        """Return the status of one request in HTTP's numbers, 0 when no answer came."""

    async def break_off(self, path: str, body: bytes) -> None:
        """Lose power in the middle of a write."""

    def lose(self, *, half_open: bool) -> None:
        """Drop the line, or go away without a word."""

    def close(self) -> None:
        """Let go of everything."""
