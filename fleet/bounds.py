"""Bound what the operator door takes in: Django spools a whole body to the disk before anybody looks at who sent it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: longest body of anything but an upload; Django's own limit for what it keeps in memory lies below
USUAL = 2 << 20
#: what `multipart/form-data` and `bundle.json` add to the files
AROUND = 4 << 20
#: bodies longer than the usual that may come in at once: each fills the disk with twice its length
MOST_UPLOADS = 8
#: longest pause within a body, and longest time for all of it, in seconds
GAP_S, WHOLE_S = 30.0, 3600.0
_UPLOADS = {"/bundles", "/api/v1/bundles"}


class Bounded:
    """An application whose requests have an end.

    Args:
        app: answers.
        upload: longest upload in bytes, without what is around the files.
    """

    def __init__(self, app: App, upload: int) -> None:
        self._app, self._upload = app, upload + AROUND
        self._free = asyncio.Semaphore(MOST_UPLOADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 to what is too long, before or while it comes, 503 when too much comes at once."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") in _UPLOADS
        limit = self._upload if is_upload else USUAL
        if _declared(scope) > limit:
            await _refuse(send, 413, limit)
            return
        body = _Body(receive, limit, self._free)
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, body.receive, watched)
        finally:
            body.close()
        if body.refused and not begun:
            await _refuse(send, body.refused, limit)


class _Body:
    """One body that comes in: counted, and never waited for without end.

    Args:
        receive: gives its pieces.
        limit: in bytes.
        free: places for long bodies; one is taken as soon as a body turns out to be long, whoever sends it.
    """

    def __init__(self, receive: Receive, limit: int, free: asyncio.Semaphore) -> None:
        self._receive, self._limit, self._free = receive, limit, free
        self._came, self._whole, self._placed = 0, False, False
        self._until = time.monotonic() + WHOLE_S
        self.refused = 0

    async def receive(self) -> Message:
        """Return the next piece, or that the other side is gone, which also stands for a refusal."""
        if self._whole:
            return await self._receive()  # nothing more comes but the end of the line
        try:
            message = await asyncio.wait_for(self._receive(), min(GAP_S, max(self._until - time.monotonic(), 0)))
        except TimeoutError:
            self.refused = 408
            return {"type": "http.disconnect"}
        self._came += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._came > self._limit:
            self.refused = 413
        elif self._came > USUAL and not self._placed:
            if self._free.locked():
                self.refused = 503
            else:
                await self._free.acquire()
                self._placed = True
        return {"type": "http.disconnect"} if self.refused else message

    def close(self) -> None:
        """Give the place back."""
        if self._placed:
            self._free.release()


def _declared(scope: Message) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _refuse(send: Send, status: int, limit: int) -> None:
    kind, title, detail = {
        408: ("too-slow", "Too slow", "The body did not come in time."),
        413: ("too-large", "Too large", f"At most {limit >> 20} MB are accepted here."),
        503: (
            "unavailable",
            "A needed part does not answer",
            "Too many uploads come in at once. Try again soon.",
        ),
    }[status]
    problem = {"type": f"urn:muster:problem:{kind}", "title": title, "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *([(b"retry-after", b"60")] if status == 503 else [])]  # noqa: PLR2004  because it is unavailable
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
