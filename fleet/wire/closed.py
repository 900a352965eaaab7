"""The transport of a connection that has ended."""

import asyncio


class ClosedTransport(asyncio.Transport):
    """Takes everything and does nothing, as a transport does behind its end.

    Whoever was answered late keeps this one instead of the real one, which refers to TLS and, through it, to the
    connection. Without that circle a connection is freed when it ends; thousands that the garbage collector frees at
    once stop the listener for a tenth of a second.
    """

    def is_closing(self) -> bool:
        """Say that it has ended."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take an answer that nobody reads."""

    def write_eof(self) -> None:
        """Do nothing."""

    def can_write_eof(self) -> bool:
        """Say that there is nothing to end."""
        return False

    def get_write_buffer_size(self) -> int:
        """Say that nothing waits."""
        return 0

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


CLOSED = ClosedTransport()
