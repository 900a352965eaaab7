"""One HTTPS connection of a device: who is at its other end, and idle polls answered without a task or a thread.

uvicorn's protocol class over httptools is the base; it is pinned, and a test fails if a request comes without its peer.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from devices.services import presence
from fleet.gateway import codec
from fleet.gateway.hot import Answers, HotTable

POLL = b"GET /v1/poll HTTP/1.1\r\n"
#: header fields that change nothing about an idle poll; any other one sends the request the ordinary way
HARMLESS = frozenset({b"host", b"accept", b"accept-encoding", b"accept-language", b"user-agent"})
FORMS = {b"": codec.CBOR, b"*/*": codec.CBOR, b"application/cbor": codec.CBOR, b"application/json": codec.JSON}
LONGEST = 1024
#: a connection on which nothing comes for so long is closed
IDLE_SECONDS = 75.0
#: of a request, all before its body; and how long that may take to come
MOST_HEAD, HEAD_SECONDS = 16 * 1024, 10.0
#: of a whole request as it comes: bodies are shorter (`http.MAX_BODY`), but cut into chunks they take more
MOST_FED = 512 * 1024
#: a reader that takes nothing for so long is slower than any that we wait for (a piece of a file at 1 KiB/s)
STALL_SECONDS = 600.0
#: connections of all who have shown no certificate; the oldest make room
MOST_UNNAMED = 4000
#: of all together; who comes then is told when to come again
MOST_OPEN, COME_AGAIN_SECONDS = 10_000, 30
#: between the news that a certificate may not stay connected and the end of its connections
LAST_WORD_SECONDS = 0.5


class Connections:
    """What the connections of one door share, and which of them are open, by the certificate that they showed."""

    def __init__(self, table: HotTable, answers: Answers) -> None:
        self.table, self.answers = table, answers
        # By certificate, the empty name for all who have shown none; the oldest first.
        self._open: dict[str, dict[DeviceConnection, None]] = {}
        self.count = 0

    def opened(self, connection: "DeviceConnection") -> None:
        """Remember a connection; one that is too many of its kind takes the oldest one's place."""
        held = self._open.setdefault(connection.fingerprint, {})
        held[connection] = None
        self.count += 1
        most = settings.FLEET_CONNECTIONS_A_DEVICE if connection.fingerprint else MOST_UNNAMED
        if len(held) > most:
            oldest = next(iter(held))
            self.closed(oldest)
            oldest.transport.abort()

    def closed(self, connection: "DeviceConnection") -> None:
        """Forget a connection."""
        held = self._open.get(connection.fingerprint, {})
        if connection in held:
            self.count -= 1
            del held[connection]
            if not held:
                del self._open[connection.fingerprint]

    def fingerprints(self) -> set[str]:
        """Return which certificates are connected; safe from another thread."""
        return set(self._open) - {""}

    def cut(self, fingerprints: Iterable[str]) -> None:
        """Close what these certificates have open now; in the loop's thread.

        Not at once: a request that is under way gets its refusal first, so that the device knows why.
        """
        for fingerprint in fingerprints:
            for connection in tuple(self._open.get(fingerprint, ())):
                connection.loop.call_later(LAST_WORD_SECONDS, connection.transport.abort)


class DeviceConnection(HttpToolsProtocol):
    """A connection with its peer; ``shared`` is set by the door before the first one."""

    shared: Connections
    fingerprint = ""

    def connection_made(self, transport: Any) -> None:
        """Take the leaf certificate when the handshake is over."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = (tls.getpeercert(binary_form=True) if tls else None) or b""
        old = tls is not None and tls.version() == "TLSv1.2"
        digest = hashlib.sha256(der)
        self.fingerprint = digest.hexdigest() if der else ""
        self._key = digest.digest() if der else b""
        self._peer: dict[object, object] = {
            "certificate": der,
            "fingerprint": self.fingerprint,
            "binding": (tls.get_channel_binding("tls-unique") if old else None) or b"",
        }
        self._address = str(self.client[0]) if self.client else ""
        self._between, self._known, self._host, self._form = True, b"", "", codec.CBOR
        resumed = tls is not None and tls.session_reused
        presence.notice(self.fingerprint, "tls_resumptions" if resumed else "tls_handshakes")
        self._opened = self._heard = self.loop.time()
        self._asked = False
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)
        self._head, self._reading_head, self._over = 0, False, False
        self._fed, self._incomplete = 0, False
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        if self.shared.count >= MOST_OPEN:
            self._end(b"503 Service Unavailable", b"retry-after: %d\r\n" % COME_AGAIN_SECONDS)
        else:
            self.shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        if self._stalled is not None:
            self._stalled.cancel()
        self._unset_keepalive_if_required()
        self._no_hurry()
        self.shared.closed(self)

    def pause_writing(self) -> None:
        """Wait for a slow reader, but not for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has read something."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def data_received(self, data: bytes) -> None:
        """Answer an idle poll at once; give everything else to the parser."""
        if self._between and self._key and (data == self._known or self._is_poll(data)):
            device = self.shared.table.idle(self._key, self._host)
            if self.flow.write_paused:  # it asks and asks, and reads no answer
                self.transport.abort()
                return
            if device and not self.transport.is_closing():
                self.shared.table.count(device, self._address)
                self._asked = True
                self._heard = self.loop.time()
                self.transport.write(self.shared.answers.next_http(self._form))
                return
        if not self._over:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Read on; what comes before a body is short and comes soon, or never becomes a request."""
        begun = self._reading_head
        super().data_received(data)
        if self.transport.is_closing() or self._over:
            return
        self._fed += len(data)
        if self._incomplete and self._fed > MOST_FED:
            self._end(b"413 Content Too Large")
        elif self._reading_head:
            self._head += len(data) if begun else 0  # a head may begin behind the end of a body
            if self._head > MOST_HEAD:
                self._too_large()
            else:
                self._hurry()
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            # Not a byte of a request: such bytes do not keep a connection open.
            self.timeout_keep_alive_handler()

    def _too_large(self) -> None:
        self._end(b"431 Request Header Fields Too Large")

    def _end(self, status: bytes, fields: bytes = b"") -> None:
        """Say why and close; nothing more is read. In the middle of another answer there is nothing to say."""
        self._over = True
        self._no_hurry()
        if self._answering:
            self.transport.abort()
            return
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\n" + fields + b"content-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _hurry(self) -> None:
        """Wait for the rest of a head, but not for ever; while we answer another request, it waits for us."""
        if self._late is None and not self._answering:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _no_hurry(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def on_headers_complete(self) -> None:
        """Take a request whose head is not too long."""
        self._reading_head, self._head = False, 0
        self._no_hurry()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MOST_HEAD:
            self._too_large()
        if not self._over:
            super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; fields behind a body are no part of it, whatever they are called."""
        if self._reading_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless the request was refused already."""
        if not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless it was refused already."""
        self._incomplete = False
        if not self._over:
            super().on_message_complete()

    def on_message_begin(self) -> None:
        """Put the peer into the scope of each request."""
        self._asked, self._between, self._reading_head, self._head = True, False, True, 0
        self._incomplete, self._fed = True, 0
        super().on_message_begin()
        self.scope["extensions"] = {"muster.peer": dict(self._peer)}

    def on_response_complete(self) -> None:
        """Be between two requests again, unless another one has begun already."""
        super().on_response_complete()
        self._heard = self.loop.time()
        if self._reading_head:
            self._hurry()
        self._between = not self.pipeline and self.cycle.response_complete and not self.cycle.more_body

    def shutdown(self) -> None:
        """End when nothing is under way; whoever has just come and not asked yet is about to."""
        if self._asked or self.loop.time() - self._opened > HEAD_SECONDS:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; polls answered from memory do not touch the clock, so ask it here."""
        rest = self._heard + IDLE_SECONDS - self.loop.time()
        if rest > 0 or self.transport.get_write_buffer_size():  # a slow reader has its own clock
            rest = max(rest, 1.0)
            self.timeout_keep_alive_task = self.loop.call_later(rest + 0.1, self.timeout_keep_alive_handler)
        elif not self._between and not self.cycle.response_complete:
            self.timeout_keep_alive_task = None  # it is being answered
        else:
            super().timeout_keep_alive_handler()

    def _is_poll(self, data: bytes) -> bool:
        """Say whether this is one whole poll and nothing else; remember it, so that the next one needs no look."""
        if not data.startswith(POLL) or not data.endswith(b"\r\n\r\n") or len(data) > LONGEST:
            return False
        host, form = None, b""
        for line in data[len(POLL) : -4].split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name, value = name.lower(), value.strip(b" \t")
            if not colon or name not in HARMLESS or not value.isascii() or b"\n" in line or b"\r" in line:
                return False
            if name == b"host":
                if host is not None:
                    return False
                host = value
            elif name == b"accept":
                form = value.lower()
        if not host or form not in FORMS:
            return False
        self._host = host.decode("ascii").rsplit(":", 1)[0].strip("[]")
        self._form, self._known = FORMS[form], data
        return True


def make(shared: Connections) -> type[asyncio.Protocol]:
    """Return the protocol class of one door."""
    return type("DoorConnection", (DeviceConnection,), {"shared": shared})


__all__ = ["Connections", "DeviceConnection", "make"]
