"""Protocols without sockets, as steps: bytes to send, or a deadline until which the next bytes may arrive.

A blocking socket (``drive_blocking``) and one in an event loop (the simulator) take the same steps.
"""

from collections.abc import Generator
from typing import Protocol, TypeVar

T = TypeVar("T")
#: yields bytes to send, or a deadline in monotonic seconds; receives the bytes that came before it, or None
Steps = Generator[bytes | float, bytes | None, T]


class BlockingLine(Protocol):
    """What steps are driven over: a socket, or an association."""

    def send(self, message: bytes) -> None:
        """Send one datagram or message."""

    def receive(self, until: float) -> bytes | None:
        """Return the next one, or None after the deadline (monotonic seconds)."""


def drive_blocking(line: BlockingLine, steps: Steps[T]) -> T:
    """Take the steps over a line that blocks. Return their result."""
    came: bytes | None = None
    while True:
        try:
            step = steps.send(came)
        except StopIteration as done:
            result: T = done.value
            return result
        came = None
        if isinstance(step, bytes):
            line.send(step)
        else:
            came = line.receive(step)
