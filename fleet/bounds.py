"""Bound what the operator door takes in: Django spools a whole body to the disk before anybody looks at who sent it."""

import asyncio
import json
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
        """Answer 413 to what is too long, before or while it comes, and 503 when too much comes at once."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") in _UPLOADS
        limit = self._upload if is_upload else USUAL
        if _declared(scope) > limit:
            await _refuse(send, 413, f"At most {limit >> 20} MB are accepted here.")
        elif not is_upload:
            await self._bounded(scope, receive, send, limit)
        elif self._free.locked():
            await _refuse(send, 503, "Too many uploads come in at once. Try again in a minute.")
        else:
            async with self._free:
                await self._bounded(scope, receive, send, limit)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Pass on a body of any declared or undeclared length, up to the limit."""
        came, over, begun = 0, False, False

        async def counted() -> Message:
            nonlocal came, over
            message = await receive()
            came += len(message.get("body", b""))
            over = over or came > limit
            return {"type": "http.disconnect"} if over else message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        await self._app(scope, counted, watched)
        if over and not begun:
            await _refuse(send, 413, f"At most {limit >> 20} MB are accepted here.")


def _declared(scope: Message) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


async def _refuse(send: Send, status: int, detail: str) -> None:
    titles = {413: "Too large", 503: "A needed part does not answer"}
    kind = {413: "too-large", 503: "unavailable"}[status]
    problem = {"type": f"urn:muster:problem:{kind}", "title": titles[status], "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *([(b"retry-after", b"60")] if status == 503 else [])]  # noqa: PLR2004  because it is unavailable
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
