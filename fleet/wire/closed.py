"""The transport of a connection that has ended."""

import asyncio


class ClosedTransport(asyncio.Transport):
    """Accept every call and do nothing, like a transport after its end.

    Late answers keep a reference to this object instead of the real transport, which refers to TLS and so to the
    connection. Without that reference cycle a connection is freed as soon as it ends. If the garbage collector freed
    thousands at once, it would block the listener for a tenth of a second.
    """

    def is_closing(self) -> bool:
        """Return True: the transport has ended."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Discard an answer."""

    def write_eof(self) -> None:
        """Do nothing."""

    def can_write_eof(self) -> bool:
        """Return False: there is nothing to end."""
        return False

    def get_write_buffer_size(self) -> int:
        """Return 0: nothing waits."""
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
