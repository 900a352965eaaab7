"""The device protocol over coaps:// on a blocking socket: block-wise transfer and observation; same API as HTTPS."""

import random
import time
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import urlsplit

from aiocoap import Message
from aiocoap.numbers import codes
from OpenSSL import SSL

from fleet.agent.coap_exchange import BLOCK, EXPONENT, OBSERVING, STATUS, CoapExchanges
from fleet.agent.dtls import ClientAssociation
from fleet.agent.errors import AnswerError, TransportError
from fleet.agent.steps import Steps, T, drive_blocking
from fleet.agent.transport import MAX_ANSWER, ServerAnswer, Transport, advance_window, body_deadline
from pki.kernel.coap import tag_text

REFUSED = 400
#: an observation that is silent for this long is registered again
OBSERVE_AGAIN = 300.0
PARTIAL = 206


class BrokenAssociationError(TransportError):
    """The association, or its socket, broke."""


class CoapTransport:
    """CoAP over DTLS to the server, with the device's certificate.

    Args:
        server: ``coaps://host:port``.
        anchor: PEM file of the only trusted roots.
        identity: certificate chain and key files.
    """

    def __init__(self, server: str, anchor: Path, identity: tuple[Path, Path]) -> None:
        parts = urlsplit(server)
        self._address, self._anchor, self._identity = (parts.hostname or "", parts.port or 5684), anchor, identity
        self._line: ClientAssociation | None = None
        self._exchanges = CoapExchanges(random.Random())  # noqa: S311  because jitter is no secret

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> ServerAnswer:
        """Send a request and return the whole answer, at most 1 MiB.

        Raises:
            TransportError: no association, or no answer.
            AnswerError: the code is 4.00 or above.
        """
        first = self._sent(method, path, body or b"", headers or {})
        status = STATUS.get(first.code, 500)
        tag = tag_text(first.opt.etag) if first.opt.etag else ""
        if status >= REFUSED:
            raise AnswerError(status, bytes(first.payload[:200]).decode("utf-8", "replace"), tag)
        data = b"".join([bytes(first.payload), *self._following(method, path, first, headers or {}, MAX_ANSWER)])
        return ServerAnswer(status, data, {"etag": tag} if tag else {})

    def stream(self, path: str, limit: int, headers: dict[str, str] | None = None) -> Generator[tuple[int, bytes]]:
        """Yield (status, chunk) of a file from the start of ``Range``; a changed file is sent whole.

        Raises:
            TransportError: it broke off, or was slower than 1 KiB/s.
            AnswerError: the code is 4.00 or above.
        """
        fields = headers or {}
        start = int(fields.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        first = self._one("GET", path, {}, start // BLOCK)
        if (tag := fields.get("If-Range", "").strip('"')) and bytes.fromhex(tag)[:8] != first.opt.etag:
            start, first = 0, self._one("GET", path, {}, 0)
        if STATUS.get(first.code, 500) >= REFUSED:
            raise AnswerError(STATUS.get(first.code, 500), bytes(first.payload[:200]).decode("utf-8", "replace"))
        status = PARTIAL if start else 200
        yield status, bytes(first.payload)[start % BLOCK :]
        for chunk in self._following("GET", path, first, {}, limit + BLOCK):
            yield status, chunk

    def await_change(self, path: str, seconds: float, stopped: Callable[[], bool]) -> bool:
        """Observe a resource (RFC 7641) until it changes. Return whether it did.

        Args:
            path: the resource.
            seconds: longest time to wait.
            stopped: called each second; True ends the wait.

        Raises:
            TransportError: no association, or it broke.
            AnswerError: the code is 4.00 or above.
        """
        until = time.monotonic() + seconds
        if self._exchanges.news:  # it arrived before or after the last poll was sent: poll again
            self._exchanges.news = False
            return True
        asked = self._observed(path)
        again = time.monotonic() + OBSERVE_AGAIN
        while asked is not None and time.monotonic() < until and not stopped():
            if time.monotonic() > again:  # the server may have lost the observation silently
                asked, again = self._observed(path), time.monotonic() + OBSERVE_AGAIN
                continue
            try:
                line, wait = self._open(), min(1.0, until - time.monotonic())
                if _driven(line, self._exchanges.hear(asked, wait)) is not None:
                    return True
            except BrokenAssociationError:
                self.close()
                raise
        return False

    def _observed(self, path: str) -> Message | None:
        """Start or continue to observe. Return the request, or None if the server does not support it."""
        asked = self._exchanges.request("GET", path, {})
        # The same token each time, so that a registration replaces the previous one.
        asked.opt.observe, asked.token = 0, OBSERVING
        first = self._exchange(asked)
        if STATUS.get(first.code, 500) >= REFUSED:
            raise AnswerError(STATUS.get(first.code, 500), bytes(first.payload[:200]).decode("utf-8", "replace"))
        return asked if first.opt.observe is not None else None

    def close(self) -> None:
        """Drop the association."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _sent(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Message:
        """Send a body, block-wise if it is long, and return the first message of the answer."""
        until = body_deadline(len(body))
        for part in self._exchanges.uploads(method, path, headers, body):
            if time.monotonic() > until:
                msg = "the upload to the server takes too long"
                raise TransportError(msg)
            answer = self._exchange(part)
            if answer.code != codes.CONTINUE:
                break
        return answer

    def _following(
        self, method: str, path: str, first: Message, headers: dict[str, str], limit: int
    ) -> Generator[bytes]:
        """Yield the further blocks of an answer."""
        block, whole, since, came = first.opt.block2, len(first.payload), time.monotonic(), 0
        until = body_deadline(limit)
        while block is not None and block.more and whole <= limit:
            answer = self._one(method, path, headers, block.block_number + 1, block.size_exponent)
            if answer.opt.etag != first.opt.etag or answer.opt.block2 is None:
                msg = "the answer changed while it was fetched"
                raise TransportError(msg)
            block, whole, came = answer.opt.block2, whole + len(answer.payload), came + len(answer.payload)
            yield bytes(answer.payload)
            since, came = advance_window(since, came, until)
        if whole > limit:
            msg = "the answer is longer than this device accepts"
            raise TransportError(msg)

    def _one(self, method: str, path: str, headers: dict[str, str], number: int, exponent: int = EXPONENT) -> Message:
        asked = self._exchanges.request(method, path, headers)
        asked.opt.block2 = (number, False, exponent)
        return self._exchange(asked)

    def _exchange(self, message: Message) -> Message:
        """Send until it is acknowledged, and return its response."""
        fresh = self._line is None
        try:
            return self._answered(self._open(), message)
        except TransportError:
            self.close()
            if fresh:
                raise
        # The server may have dropped an old association: retry over a new one.
        try:
            return self._answered(self._open(), message)
        except TransportError:
            self.close()
            raise

    def _open(self) -> ClientAssociation:
        if self._line is None:
            self._line = ClientAssociation(self._address, self._anchor, self._identity)
        return self._line

    def _answered(self, line: ClientAssociation, message: Message) -> Message:
        return _driven(line, self._exchanges.ask(message))


def open_connection(server: str, anchor: Path, identity: tuple[Path, Path]) -> Transport | CoapTransport:
    """Return a connection to a server: CoAP for ``coaps://``, else HTTPS."""
    transport = CoapTransport if server.startswith("coaps://") else Transport
    return transport(server, anchor, identity)


def _driven(line: ClientAssociation, steps: Steps[T]) -> T:
    """Take the steps over the association. Return their result.

    Raises:
        BrokenAssociationError: the association, or its socket, broke.
    """
    try:
        return drive_blocking(line, steps)
    except (SSL.Error, OSError) as error:
        msg = f"the association broke: {error or type(error).__name__}"
        raise BrokenAssociationError(msg) from error
