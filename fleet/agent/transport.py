"""One keep-alive connection over mutual TLS: bounded answers, a deadline, a least speed, no redirects."""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from fleet.agent.errors import AnswerError, TransportError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TIMEOUT = 20.0
#: seconds until the whole head of an answer must arrive, including `100 Continue`
HEAD_S = 60.0
MAX_ANSWER = 1 << 20
CHUNK = 16 * 1024
#: least bytes per window of a download; a slower one is aborted, against slow-drip attacks
LEAST_RATE, RATE_WINDOW = 1024, 10.0
#: a body has ten minutes, or longer at this average rate in bytes per second
WHOLE_S, WHOLE_RATE = 600.0, 4096
_TOO_LONG = "the whole download takes too long"
#: characters of a path and query that are not encoded (RFC 3986), including percent signs
_PATH = "/?%:@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """One answer: status, body, header fields with lower-case names."""

    status: int
    body: bytes
    headers: dict[str, str]


class _TimedReader(io.RawIOBase):
    """Read a connection until a deadline, even if bytes keep arriving.

    Args:
        connection: the socket.
        until: deadline on the monotonic clock.
    """

    def __init__(self, connection: socket.socket, until: float) -> None:
        super().__init__()
        self._connection, self._raw, self.until = connection, connection.makefile("rb", buffering=0), until

    def readable(self) -> bool:
        """Return True: the stream is readable."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        """Read some bytes, before the deadline."""
        left = self.until - time.monotonic()
        if left <= 0:
            msg = "the answer timed out"
            raise TimeoutError(msg)
        self._connection.settimeout(min(TIMEOUT, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Release the connection."""
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer with a deadline for its head, one for the whole body, and one for each next byte of the payload.

    The framing of the payload (sizes and extensions of chunks, trailers) has the same deadlines.
    """

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.fp.close()
        self._reader = _TimedReader(sock, time.monotonic() + HEAD_S)
        self.fp = io.BufferedReader(self._reader)

    def next_bytes(self, until: float) -> bytes:
        """Return some bytes of the payload; empty at its end.

        Args:
            until: deadline of the whole body on the monotonic clock.

        Raises:
            TimeoutError: no byte of the payload arrived within 20 seconds, or the deadline has passed.
        """
        self._reader.until = min(until, time.monotonic() + TIMEOUT)
        return self.read1(CHUNK)


class Transport:
    """HTTPS to the server, with the device's certificate once it has one.

    Args:
        server: ``https://host:port``, or ``http://…`` for an untrusted mirror.
        anchor: PEM file of the only trusted root; None for the trust anchors of the system.
        identity: certificate chain and key files, or None.
    """

    def __init__(self, server: str, anchor: Path | None, identity: tuple[Path, Path] | None = None) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._context = ssl.create_default_context(cafile=str(anchor) if anchor else None)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            if identity:
                self._load(self._context, identity)
        self._connection: http.client.HTTPConnection | None = None

    @property
    def host(self) -> str:
        """Return the address of the server."""
        return self._host

    @staticmethod
    def _load(context: ssl.SSLContext, identity: tuple[Path, Path]) -> None:
        try:
            context.load_cert_chain(*identity)
        except OSError as error:  # such as a missing TPM
            msg = f"the device's key is not usable: {error}"
            raise TransportError(msg) from error

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> ServerAnswer:
        """Send a request and return the whole answer, at most 1 MiB.

        Raises:
            TransportError: no connection, or the answer broke off.
            AnswerError: the status is 400 or above.
        """
        with self._open(method, path, body, headers or {}) as response:
            data = b"".join(chunk for _, chunk in self._chunks(response, MAX_ANSWER))
            if len(data) > MAX_ANSWER:
                self.close()
                msg = "the answer is longer than this device accepts"
                raise TransportError(msg)
            fields = {name.lower(): value for name, value in response.getheaders()}
        if response.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise AnswerError(response.status, data[:200].decode("utf-8", "replace"), fields.get("etag", ""))
        return ServerAnswer(response.status, data, fields)

    def stream(self, path: str, limit: int, headers: dict[str, str] | None = None) -> Generator[tuple[int, bytes]]:
        """Yield (status, chunk) of a body, up to ``limit`` bytes plus one chunk.

        Raises:
            TransportError: it broke off, was slower than 1 KiB/s, or the whole download took too long.
            AnswerError: the status is 400 or above.
        """
        with self._open("GET", path, None, headers or {}) as response:
            if response.status >= http.HTTPStatus.MULTIPLE_CHOICES:
                detail = b"".join(chunk for _, chunk in self._chunks(response, MAX_ANSWER))[:200]
                location = response.getheader("location") or ""
                raise AnswerError(response.status, detail.decode("utf-8", "replace"), location=location)
            whole = False
            try:
                yield from self._chunks(response, limit)
                whole = True
            finally:
                if not whole:  # unread bytes of this answer must not be read as the next one
                    self.close()

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _chunks(self, response: _TimedResponse, limit: int) -> Iterator[tuple[int, bytes]]:
        since, came, whole, until = time.monotonic(), 0, 0, body_deadline(limit)
        while whole <= limit:
            try:
                data = response.next_bytes(until)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                msg = _TOO_LONG if time.monotonic() >= until else f"the download broke off: {error}"
                raise TransportError(msg) from error
            if not data:
                return
            came, whole = came + len(data), whole + len(data)
            yield response.status, data
            try:
                since, came = advance_window(since, came, until)
            except TransportError:
                self.close()
                raise
        self.close()

    def _open(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> _TimedResponse:
        attempts = 2 if self._connection is not None else 1
        while True:
            attempts -= 1
            try:
                return self._request(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                # The server may have closed a kept connection: retry on a new one.
                self.close()
                if not attempts:
                    msg = f"{self._host} cannot be reached: {error}"
                    raise TransportError(msg) from error

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> _TimedResponse:
        if self._connection is None:
            self._connection = self._connect()
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(TIMEOUT)  # the previous answer left its remaining timeout on the socket
        target = quote(path, safe=_PATH)  # a path from the server may be any text
        self._connection.request(method, target, body, {"Accept-Encoding": "identity", **headers})
        return cast("_TimedResponse", self._connection.getresponse())  # the class that ``_connect`` has named

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT, context=self._context)
        connection.response_class = _TimedResponse
        return connection


def body_deadline(limit: int) -> float:
    """Return the deadline of a body of this length on the monotonic clock."""
    return time.monotonic() + max(WHOLE_S, limit / WHOLE_RATE)


def advance_window(since: float, came: int, until: float) -> tuple[float, int]:
    """Return where the window of the least speed stands now.

    Args:
        since: start of the window on the monotonic clock.
        came: bytes since then.
        until: when the whole body has to be there.

    Raises:
        TransportError: too slow for a while, or on the whole.
    """
    now = time.monotonic()
    if now > until:
        raise TransportError(_TOO_LONG)
    if now - since <= RATE_WINDOW:
        return since, came
    if came < LEAST_RATE * RATE_WINDOW:
        msg = "the download is slower than 1 KiB/s"
        raise TransportError(msg)
    return now, 0
