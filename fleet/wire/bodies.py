"""Bodies as they come in: never too long, never too slow, and never taken for whole when the other side has gone."""

import asyncio
import time

from fleet.wire import limits
from fleet.wire.asgi import Message, Receive


class BodyError(Exception):
    """A body that is not taken; a signal of the listeners, not an error of the domain.

    Args:
        status: of HTTP; 0 when nobody waits for an answer any more.
        detail: what is wrong and what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Pace:
    """How long to wait for the next piece of a body: a limit for a pause, and a least speed for the whole.

    Args:
        whole: seconds for all of it, or 0 where the least speed is enough.
    """

    def __init__(self, whole: float = 0.0) -> None:
        self._since, self._whole, self.came = time.monotonic(), whole, 0

    @property
    def patience(self) -> float:
        """Return for how many seconds the next piece may be waited for."""
        passed = time.monotonic() - self._since
        left = limits.BODY_GRACE_SECONDS + self.came / limits.LEAST_SPEED - passed
        if self._whole:
            left = min(left, self._whole - passed)
        return max(min(limits.GAP_SECONDS, left), 0.0)

    async def next_piece(self, receive: Receive) -> Message:
        """Return the next message of ASGI.

        Raises:
            BodyError: it does not come in time (408), or the other side has gone.
        """
        try:
            message = await asyncio.wait_for(receive(), self.patience)
        except TimeoutError as error:
            msg = (
                f"The body came too slowly: a pause of more than {limits.GAP_SECONDS:.0f} seconds, "
                f"or less than {limits.LEAST_SPEED} bytes a second. Send it again over a better connection."
            )
            raise BodyError(408, msg) from error
        if message["type"] == "http.disconnect":
            msg = "The other side has gone before the body was whole."
            raise BodyError(0, msg)
        self.came += len(message.get("body", b""))
        return message


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return a whole body, chunked or not.

    Raises:
        BodyError: too long (413), too slow (408), or the other side has gone.
    """
    parts, pace = bytearray(), Pace()
    while True:
        message = await pace.next_piece(receive)
        parts += message.get("body", b"")
        if len(parts) > limit:
            msg = f"The body is longer than {limit} bytes. Send less at once."
            raise BodyError(413, msg)
        if not message.get("more_body"):
            return bytes(parts)
