"""Read request bodies with limits on size and time. A body from a client that disconnects is never complete."""

import asyncio
import time

from fleet.wire import limits
from fleet.wire.asgi import Message, Receive


class BodyError(Exception):
    """A body that is refused; internal to the listeners, not a domain error.

    Args:
        status: HTTP status; 0 when the client has disconnected.
        detail: what is wrong and what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class BodyPace:
    """The time limits of a body: a longest pause, and a least speed of the whole body.

    Args:
        whole: seconds for all of it, or 0 where the least speed is enough.
    """

    def __init__(self, whole: float = 0.0) -> None:
        self._since, self._whole, self.came = time.monotonic(), whole, 0

    @property
    def patience(self) -> float:
        """Return how many seconds to wait for the next piece."""
        passed = time.monotonic() - self._since
        left = limits.BODY_GRACE_SECONDS + self.came / limits.LEAST_SPEED - passed
        if self._whole:
            left = min(left, self._whole - passed)
        return max(min(limits.GAP_SECONDS, left), 0.0)

    async def next_piece(self, receive: Receive) -> Message:
        """Return the next ASGI message.

        Raises:
            BodyError: it does not arrive in time (408), or the client has disconnected.
        """
        try:
            message = await asyncio.wait_for(receive(), self.patience)
        except TimeoutError as error:
            msg = (
                f"The body arrived too slowly: a pause of more than {limits.GAP_SECONDS:.0f} seconds, "
                f"or less than {limits.LEAST_SPEED} bytes per second. Send it again over a better connection."
            )
            raise BodyError(408, msg) from error
        if message["type"] == "http.disconnect":
            msg = "The client disconnected before the body was complete."
            raise BodyError(0, msg)
        self.came += len(message.get("body", b""))
        return message


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return a whole body, chunked or not.

    Raises:
        BodyError: it is too long (413) or too slow (408), or the client has disconnected.
    """
    parts, pace = bytearray(), BodyPace()
    while True:
        message = await pace.next_piece(receive)
        parts += message.get("body", b"")
        if len(parts) > limit:
            msg = f"The body is longer than the limit of {limit} bytes. Send a smaller body."
            raise BodyError(413, msg)
        if not message.get("more_body"):
            return bytes(parts)
