"""One HTTPS connection of a device: who is at its other end, and idle polls answered without a task or a thread.

uvicorn's protocol class over httptools is the base; it is pinned, and a test fails if a request comes without its peer.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleet.gateway import codec
from fleet.gateway.hot import Answers, HotTable

POLL = b"GET /v1/poll HTTP/1.1\r\n"
#: header fields that change nothing about an idle poll; any other one sends the request the ordinary way
HARMLESS = frozenset({b"host", b"accept", b"accept-encoding", b"accept-language", b"user-agent"})
FORMS = {b"": codec.CBOR, b"*/*": codec.CBOR, b"application/cbor": codec.CBOR, b"application/json": codec.JSON}
LONGEST = 1024
#: a connection on which nothing comes for so long is closed
IDLE_SECONDS = 75.0
#: between the news that a certificate may not stay connected and the end of its connections
LAST_WORD_SECONDS = 0.5


class Connections:
    """What the connections of one door share, and which of them are open, by the certificate that they showed."""

    def __init__(self, table: HotTable, answers: Answers) -> None:
        self.table, self.answers = table, answers
        self._open: dict[str, set[DeviceConnection]] = {}

    def opened(self, connection: "DeviceConnection") -> None:
        """Remember a connection whose peer showed a certificate."""
        self._open.setdefault(connection.fingerprint, set()).add(connection)

    def closed(self, connection: "DeviceConnection") -> None:
        """Forget a connection."""
        held = self._open.get(connection.fingerprint)
        if held is not None:
            held.discard(connection)
            if not held:
                del self._open[connection.fingerprint]

    def fingerprints(self) -> set[str]:
        """Return which certificates are connected; safe from another thread."""
        return set(self._open)

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
        self._heard = self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)
        if der:
            self.shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self.fingerprint:
            self.shared.closed(self)

    def data_received(self, data: bytes) -> None:
        """Answer an idle poll at once; give everything else to the parser."""
        if self._between and self._key and (data == self._known or self._is_poll(data)):
            device = self.shared.table.idle(self._key, self._host)
            if device and not self.transport.is_closing():
                self.shared.table.count(device, self._address)
                self._heard = self.loop.time()
                self.transport.write(self.shared.answers.next_http(self._form))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Put the peer into the scope of each request."""
        self._between = False
        super().on_message_begin()
        self.scope["extensions"] = {"muster.peer": dict(self._peer)}

    def on_response_complete(self) -> None:
        """Be between two requests again, unless another one has begun already."""
        super().on_response_complete()
        self._heard = self.loop.time()
        self._between = not self.pipeline and self.cycle.response_complete and not self.cycle.more_body

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; polls answered from memory do not touch the clock, so ask it here."""
        rest = self._heard + IDLE_SECONDS - self.loop.time()
        if rest > 0:
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
