"""Server-sent events for rollout pages; one poller per process serves all streams."""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string

from fleet.console import rollouts
from fleet.console.pages import page_actor
from fleet.operators.models import Operator
from ota.selectors import rollouts as rollout_rows
from pki.kernel import actor as actors
from pki.kernel.errors import DomainError

_logger = logging.getLogger(__name__)
POLL_SECONDS, HEARTBEAT_SECONDS, MOST_STREAMS = 1.0, 15.0, 4
Topic = tuple[str, str]
_open: Counter[int] = Counter()


@dataclass(slots=True)
class RolloutFeed:
    """Latest rendered state of one rollout, its digest (``mark``), and the number of streams that listen."""

    html: str = ""
    mark: str = ""
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Poller:
    """Task that polls every watched rollout; one per process."""

    feeds: dict[Topic, RolloutFeed] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def join(self, topic: Topic) -> RolloutFeed:
        """Add a listener; start polling if the task is not running."""
        feed = self.feeds.setdefault(topic, RolloutFeed())
        feed.listeners += 1
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run())
        return feed

    def leave(self, topic: Topic) -> None:
        """Remove a listener; drop the feed when it was the last one."""
        feed = self.feeds[topic]
        feed.listeners -= 1
        if not feed.listeners:
            del self.feeds[topic]

    async def _run(self) -> None:
        while self.feeds:
            for topic, feed in list(self.feeds.items()):
                html = await sync_to_async(_render)(topic) or feed.html
                mark = hashlib.sha256(html.encode()).hexdigest()[:16]
                if mark != feed.mark:
                    feed.html, feed.mark = html, mark
                    feed.changed.set()
                    feed.changed = asyncio.Event()
            await asyncio.sleep(POLL_SECONDS)


poller = Poller()


async def rollout_stream(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Stream the body of a rollout page whenever it changes."""
    try:
        user, domain = await sync_to_async(_who)(request, public_id)
    except DomainError as error:
        return HttpResponse(f"{error.detail}\n", status=403, content_type="text/plain")
    if _open[user] >= MOST_STREAMS:
        # 204 stops the browser from reconnecting (HTML standard, server-sent events). The page works without a stream.
        return HttpResponse(status=204)
    last = request.headers.get("Last-Event-ID", "")
    response = StreamingHttpResponse(_stream(request, user, (domain, public_id), last), "text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


async def _stream(request: HttpRequest, user: int, topic: Topic, sent: str) -> AsyncIterator[str]:
    feed = poller.join(topic)
    _open[user] += 1
    beat = time.monotonic()
    try:
        yield "retry: 2000\n\n"
        while True:
            if feed.mark and feed.mark != sent:
                sent = feed.mark
                yield _event(sent, feed.html)
                continue
            await _change(feed, max(HEARTBEAT_SECONDS - (time.monotonic() - beat), 0.1))
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                await sync_to_async(_who)(request, topic[1])
                yield ": heartbeat\n\n"
    except DomainError:
        return
    finally:
        _open[user] -= 1
        poller.leave(topic)


async def _change(feed: RolloutFeed, seconds: float) -> None:
    """Wait for the next state, at most this many seconds."""
    try:
        await asyncio.wait_for(feed.changed.wait(), seconds)
    except TimeoutError:
        return


def _render(topic: Topic) -> str:
    """Return the current body of the rollout page, or an empty text if the database is unavailable."""
    close_old_connections()
    try:
        return render_to_string(
            "console/rollouts/body.html", rollouts.rollout_body(actors.system_actor(topic[0], "events"), topic[1])
        )
    except DatabaseError:
        _logger.warning("could not read a rollout for its live page", extra={"rollout": topic[1]})
        return ""


def _who(request: HttpRequest, public_id: str) -> tuple[int, str]:
    """Return key and domain of the operator; raise if the operator can no longer read the rollout.

    Every heartbeat repeats this check, so that the stream of a person who has signed out ends.
    """
    session = request.session
    if not session.exists(session.session_key or ""):
        request.user = None  # type: ignore[assignment]  # the session has ended
    if isinstance(request.user, Operator):
        request.user.refresh_from_db()
        if not request.user.is_active:
            request.user = None  # type: ignore[assignment]  # the operator was deactivated
    who = page_actor(request)
    rollout_rows.get_rollout(actor=who, public_id=public_id)
    return int(str(request.user.pk)), who.domain


def _event(mark: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"id: {mark}\nevent: body\n{lines}\n"
