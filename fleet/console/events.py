"""Server-sent events of the rollout page: one poller a rollout and process fans out to every stream."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string

from fleet.console.door import actor
from fleet.operators.models import Operator
from ota.selectors import rollouts
from pki.kernel.actor import Role
from pki.kernel.errors import DomainError

POLL_SECONDS, HEARTBEAT_SECONDS, MOST_STREAMS = 1.0, 15.0, 4
_open: Counter[int] = Counter()


@dataclass(slots=True)
class Feed:
    """The newest state of one rollout, and who waits for the next."""

    domain: str
    public_id: str
    html: str = ""
    number: int = 0
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


_feeds: dict[tuple[str, str], Feed] = {}


async def rollout(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Stream the rollout's body whenever it changes."""
    try:
        user, domain = await sync_to_async(_who)(request)
    except DomainError:
        return HttpResponse(status=403)
    if _open[user] >= MOST_STREAMS:
        return HttpResponse("Too many live pages are open; close one.\n", status=429, content_type="text/plain")
    last = request.headers.get("Last-Event-ID", "")
    response = StreamingHttpResponse(_stream(request, user, domain, public_id, last), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


async def _stream(request: HttpRequest, user: int, domain: str, public_id: str, last: str) -> AsyncIterator[str]:
    feed = _feeds.setdefault((domain, public_id), Feed(domain, public_id))
    _open[user] += 1
    feed.listeners += 1
    if feed.task is None or feed.task.done():
        feed.task = asyncio.create_task(_poll(feed))
    sent, beat = int(last) if last.isdigit() else -1, time.monotonic()
    try:
        yield "retry: 2000\n\n"
        while True:
            if feed.html and feed.number != sent:
                sent = feed.number
                yield _event(sent, feed.html)
            try:
                await asyncio.wait_for(feed.changed.wait(), POLL_SECONDS * 2)
            except TimeoutError:
                if time.monotonic() - beat < HEARTBEAT_SECONDS:
                    continue
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                await sync_to_async(_who)(request)
                yield ": still here\n\n"
    except DomainError:
        return
    finally:
        _open[user] -= 1
        feed.listeners -= 1


async def _poll(feed: Feed) -> None:
    """Look once a second while anyone listens; wake the streams when something changed."""
    while feed.listeners:
        html = await sync_to_async(_render)(feed.domain, feed.public_id)
        if html != feed.html:
            feed.html, feed.number = html, feed.number + 1
            feed.changed.set()
            feed.changed = asyncio.Event()
        await asyncio.sleep(POLL_SECONDS)
    _feeds.pop((feed.domain, feed.public_id), None)


def _render(domain: str, public_id: str) -> str:
    close_old_connections()
    found = rollouts.rollout(domain, public_id)
    context = {"rollout": found, "progress": rollouts.progress(found)}
    return render_to_string("console/rollouts/body.html", context)


def _who(request: HttpRequest) -> tuple[int, str]:
    """Return who listens; asked again at each heartbeat, so that a signed-out person loses the stream."""
    session = request.session
    if not session.exists(session.session_key or ""):
        request.user = None  # type: ignore[assignment]  # the session is gone, so nobody is signed in
    if isinstance(request.user, Operator):
        request.user.refresh_from_db()
    who = actor(request)
    who.require(Role.VIEWER)
    return int(str(request.user.pk)), who.domain


def _event(number: int, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"id: {number}\nevent: body\n{lines}\n"
