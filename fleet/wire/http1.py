"""HTTP/1.1 for all listeners: the checks that the RFCs require, and limits on all input.

uvicorn's protocol class over httptools is the base; it is pinned, and tests go through real sockets.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fleet.wire import limits
from fleet.wire.closed import CLOSED
from fleet.wire.connections import Connections
from fleet.wire.heads import BAD, Refusal, origin_form, wrong_head
from fleet.wire.request_limits import RequestLimits

BUSY = (b"503 Service Unavailable", "Too many connections are open. Try again later.")


class BoundedConnection(HttpToolsProtocol):
    """One connection of a listener; ``shared`` is set by the listener before the first one."""

    shared: Connections
    fingerprint = address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class: a stream
        """Count the connection, or refuse it with 503 above the limit."""
        super().connection_made(transport)
        self.address = str(self.client[0]) if self.client else ""
        self._opened = self._heard = self.loop.time()
        self._asked, self._between = False, True
        self._limits = RequestLimits()
        self._reading_head = self._incomplete = self._over = False
        self._own: object = None  # the answer to the request whose body is being received
        self._live: list[RequestResponseCycle] = []  # incomplete answers to pipelined requests, oldest first
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None
        self.timeout_keep_alive_task = self.loop.call_later(limits.IDLE_SECONDS, self.timeout_keep_alive_handler)
        if self.shared.full:
            self._end(BUSY, b"retry-after: %d\r\n" % limits.COME_AGAIN_SECONDS)
        else:
            self.shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all answers that the client has disconnected. Break reference cycles."""
        super().connection_lost(exc)  # notifies the newest answer only
        for cycle in self._live:
            cycle.disconnected = True
            cycle.message_event.set()
        self._live.clear()
        for timer in (self._stalled, self._resting):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        self._no_hurry()
        self.shared.closed(self)
        self.pipeline.clear()
        self.transport = self.flow._transport = CLOSED  # noqa: SLF001  because uvicorn has no way to end it
        self.cycle = self._own = self._stalled = self._resting = None  # type: ignore[assignment]  # as before the first
        self.scope = {}  # type: ignore[typeddict-item]  # nothing is asked any more

    def pause_writing(self) -> None:
        """Wait for a slow reader, with a limit."""
        super().pause_writing()
        self._stalled = self.loop.call_later(limits.STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Resume: the client has read some data."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        """Process received data. A head must be short and arrive in time."""
        if self._over:
            if self._limits.is_flooded(len(data)):
                self.transport.abort()
            return
        begun, fresh = self._reading_head, not self._incomplete
        self._limits.data_came(len(data))
        super().data_received(data)
        if self.transport.is_closing() or self._over:
            return
        if self._reading_head:
            if refusal := self._limits.head_came(data, begun=begun, fresh=fresh):
                self._end(refusal)
            else:
                self._hurry()
        elif self._incomplete and (refusal := self._limits.framing_refusal()):
            self._end(refusal)
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            # No byte of a request: such bytes do not keep a connection open.
            self.timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """Start a request."""
        self._asked, self._between, self._reading_head = True, False, True
        self._limits.request_began()
        self._incomplete = True
        super().on_message_begin()
        self.scope["extensions"] = {"muster.connection": {"hold": self.hold}}

    def on_url(self, url: bytes) -> None:
        """Append a part of the request target."""
        super().on_url(url)
        if refusal := self._limits.target_refusal(len(self.url)):
            self._end(refusal)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header field; trailer fields are ignored."""
        if not self._reading_head or self._over:
            return
        if refusal := self._limits.field_came():
            self._end(refusal)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Accept a request if its head is valid."""
        self._reading_head = False
        self._limits.head_ended()
        self._no_hurry()
        if self._over:
            return
        if refusal := self._limits.size_refusal(self.url, self.headers):
            self._end(refusal)
        elif self._limits.is_crowded(len(self.pipeline)):
            self.transport.abort()
            self._over = True
        elif self._checked():
            self._start()

    def _checked(self) -> bool:
        """Normalize the head for applications; refuse it if that is not possible."""
        method = self.parser.get_method()
        wrong = wrong_head(self.parser.get_http_version(), method, self.headers)
        if wrong is None and self.url == b"*" and method == b"OPTIONS":
            wrong = b"204 No Content", ""
        formed = wrong or origin_form(self.url, self.headers)
        if isinstance(formed[1], str):
            self._end((formed[0], formed[1]))
            return False
        self.url, self.headers[:] = formed[0], formed[1]
        return True

    def _start(self) -> None:
        super().on_headers_complete()
        self._own = cycle = self.cycle
        self._live.append(cycle)
        cycle.transport = _Ending(self)  # type: ignore[assignment]  # all of a transport that an answer uses
        if self.scope["http_version"] == "1.0":
            # HTTP/1.0 has no chunks: an answer without a length ends with the connection.
            cycle.waiting_for_100_continue = False
            cycle.chunked_encoding, cycle.expected_content_length = False, _UntilTheEnd()
        if self.parser.should_upgrade():  # upgrade to an unsupported protocol: answer, then close
            cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body, unless the request was refused."""
        self._limits.body_came(len(body))
        if not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete a request, unless it was refused."""
        self._incomplete, self._own = False, None
        self._limits.body_ended()
        if not self._over:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Return to the idle state, unless another request has started."""
        del self._live[:1]
        super().on_response_complete()
        self._heard = self.loop.time()
        self.shared.answered(self)
        if self._reading_head:
            self._hurry()
        self._between = not self.pipeline and self.cycle.response_complete and not self.cycle.more_body

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP."""
        self._end((BAD, msg))

    def shutdown(self) -> None:
        """Shut down when no request is pending; a new connection is allowed its first request."""
        if self._asked or self.loop.time() - self._opened > limits.HEAD_SECONDS:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. Cached polls do not reset the timer, so check the time here."""
        rest = self._heard + limits.IDLE_SECONDS - self.loop.time()
        if rest > 0 or self.transport.get_write_buffer_size():  # a slow reader has its own timer
            rest = max(rest, 1.0)
            self.timeout_keep_alive_task = self.loop.call_later(rest + 0.1, self.timeout_keep_alive_handler)
        elif not self._between and not self.cycle.response_complete:
            self.timeout_keep_alive_task = None  # a request is being answered
        else:
            super().timeout_keep_alive_handler()

    def hold(self, seconds: float) -> None:
        """Pause reading: a client above its rate limit gets the next answer later."""
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self._resting = self.loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def linger(self) -> None:
        """Close after an answer. Read and discard some of a pending request first, so that the answer arrives."""
        if self._incomplete and not self.transport.is_closing():
            self._over = True
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(limits.LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()

    def _end(self, refusal: Refusal, fields: bytes = b"") -> None:
        """Send the reason and close. In the middle of another answer, close without a reason."""
        if self._over:
            return
        self._over = True
        self._no_hurry()
        if self._answering:
            if self._own is not self.cycle or self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # the body of this request is invalid
            self.cycle.message_event.set()
        status, text = refusal
        body = text.encode() + b"\n" if text else b""
        kind = b"content-type: text/plain; charset=utf-8\r\n" if text else b""
        length = b"" if status.startswith(b"204") else b"content-length: %d\r\n" % len(body)
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\n" + kind + fields + length + b"connection: close\r\n\r\n" + body
        )
        self.linger()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    def _hurry(self) -> None:
        """Wait for the rest of a head, with a limit. The time does not count while another request is answered."""
        if self._late is None and not self._answering:
            self._late = self.loop.call_later(limits.HEAD_SECONDS, self._too_late)

    def _too_late(self) -> None:
        self._end((b"408 Request Timeout", f"The request head must arrive within {limits.HEAD_SECONDS:.0f} seconds."))

    def _no_hurry(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Ending:
    """The current transport of the connection, for answers; the closed transport after its end.

    Closing it first reads and discards the rest of a request.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Send a part of the answer."""
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        """Return whether the transport is closing."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """Close after the written data."""
        self._connection.linger()


class _UntilTheEnd(int):
    """The length of an answer that ends with its connection: no piece is too long or missing."""

    def __lt__(self, other: int) -> bool:
        return False

    def __sub__(self, other: int) -> "_UntilTheEnd":
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __eq__ = int.__eq__
    __hash__ = int.__hash__


def make_protocol(shared: Connections, base: type[BoundedConnection] = BoundedConnection) -> type[asyncio.Protocol]:
    """Return the protocol class of one listener."""
    return type("ListenerConnection", (base,), {"shared": shared})
