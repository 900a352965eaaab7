"""The interface of a simulated device's connection, and its parameters."""

import random
import ssl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: seconds until a device stops waiting for an answer
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Addresses of the device gateway, and the credentials and faults of a device.

    Args:
        host: host of the device gateway.
        https: HTTPS port.
        coaps: CoAP port.
        anchor: PEM file of the only trusted root.
        identity: PEM file with chain and key.
        source: random source of this device.
        shaken: datagram faults: ``loss``, ``repeat``, ``shuffle``.
        played: counter of injected faults.
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
    """A device's connection; it opens on first use and reopens after a loss."""

    async def ask(self, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> int:
        """Send one request. Return its HTTP status, or 0 without an answer."""

    async def break_off(self, path: str, body: bytes) -> None:
        """Simulate a power loss in the middle of a write."""

    def lose(self, *, half_open: bool) -> None:
        """Drop the connection, or disappear without closing it."""

    def close(self) -> None:
        """Release all resources."""
