"""The device protocol over coaps://: confirmable messages, retransmission, block-wise transfer; same API as HTTPS."""

import random
import secrets
import time
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import urlsplit

from aiocoap import Message
from aiocoap.error import Error as CoapError
from aiocoap.numbers import codes, types
from OpenSSL import SSL

from fleet.agent.dtls import ClientAssociation
from fleet.agent.errors import AnswerError, TransportError
from fleet.agent.transport import MAX_ANSWER, ServerAnswer, Transport, advance_window, body_deadline
from pki.kernel.coap import NUMBERS, tag_bytes, tag_text

METHODS = {"GET": codes.GET, "POST": codes.POST, "PUT": codes.PUT}
STATUS = {
    codes.CREATED: 201, codes.CHANGED: 200, codes.CONTENT: 200, codes.VALID: 304, codes.BAD_REQUEST: 400,
    codes.UNAUTHORIZED: 401, codes.FORBIDDEN: 403, codes.NOT_FOUND: 404, codes.METHOD_NOT_ALLOWED: 405,
    codes.REQUEST_ENTITY_INCOMPLETE: 408, codes.CONFLICT: 409, codes.PRECONDITION_FAILED: 412,
    codes.REQUEST_ENTITY_TOO_LARGE: 413, codes.UNSUPPORTED_CONTENT_FORMAT: 415, codes.TOO_MANY_REQUESTS: 429,
    codes.BAD_GATEWAY: 502, codes.SERVICE_UNAVAILABLE: 503, codes.GATEWAY_TIMEOUT: 504,
}  # fmt: skip
#: RFC 7252, 4.8: first timeout, its factor with each retransmission, and the number of retransmissions
ACK_SECONDS, FACTOR, ATTEMPTS = 2.0, 1.5, 4
#: extra time for the response after an empty acknowledgement, granted once
ANSWER_SECONDS = 30.0
#: RFC 7252, 4.8.2: no response is expected after MAX_TRANSMIT_WAIT, however often it was acknowledged
EXCHANGE_SECONDS = 93.0
EXPONENT, BLOCK = 6, 1024
REFUSED = 400
OBSERVING = b"obsv"
#: an observation that is silent for this long is registered again
OBSERVE_AGAIN = 300.0
PARTIAL = 206


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
        self._mid = secrets.randbelow(1 << 16)
        #: a notification arrived during another exchange
        self._news = False
        self._random = random.Random()  # noqa: S311  because jitter is no secret

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
        if (wanted := fields.get("If-Range", "").strip('"')) and bytes.fromhex(wanted)[:8] != first.opt.etag:
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
        if self._news:  # it arrived before or after the last poll was sent: poll again
            self._news = False
            return True
        asked = self._observed(path)
        again = time.monotonic() + OBSERVE_AGAIN
        while asked is not None and time.monotonic() < until and not stopped():
            if time.monotonic() > again:  # the server may have lost the observation silently
                asked, again = self._observed(path), time.monotonic() + OBSERVE_AGAIN
                continue
            try:
                if self._heard(self._open(), asked, min(1.0, until - time.monotonic())) is not None:
                    return True
            except (SSL.Error, OSError) as error:
                self.close()
                msg = f"the association broke: {error or type(error).__name__}"
                raise TransportError(msg) from error
        return False

    def _observed(self, path: str) -> Message | None:
        """Start or continue to observe. Return the request, or None if the server does not support it."""
        asked = self._request("GET", path, {}, b"")
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
        if len(body) <= BLOCK:
            return self._exchange(self._request(method, path, headers, body))
        count, until = -(-len(body) // BLOCK), body_deadline(len(body))
        for number in range(count):
            if time.monotonic() > until:
                msg = "the upload to the server takes too long"
                raise TransportError(msg)
            part = self._request(method, path, headers, body[number * BLOCK : (number + 1) * BLOCK])
            part.opt.block1 = (number, number + 1 < count, EXPONENT)
            answer = self._exchange(part)
            if answer.code != codes.CONTINUE:
                return answer
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
        asked = self._request(method, path, headers, b"")
        asked.opt.block2 = (number, False, exponent)
        return self._exchange(asked)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Message:
        made = Message(
            code=METHODS[method], payload=body, _mtype=types.CON, _mid=self._next_id(), _token=secrets.token_bytes(4)
        )
        made.opt.uri_path = path.strip("/").split("/")
        if "Content-Type" in headers:  # repeated in the requests for further blocks of the same answer
            made.opt.content_format = NUMBERS[headers["Content-Type"]]
        if "Accept" in headers:
            made.opt.accept = NUMBERS[headers["Accept"]]
        if "If-None-Match" in headers:
            made.opt.etags = [tag_bytes(headers["If-None-Match"])]
        if "If-Match" in headers:
            made.opt.if_match = [tag_bytes(headers["If-Match"])]
        return made

    def _next_id(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

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
        wait, latest = ACK_SECONDS * self._random.uniform(1, FACTOR), time.monotonic() + EXCHANGE_SECONDS
        try:
            for _ in range(ATTEMPTS):
                line.send(message.encode())
                answer = self._heard(line, message, min(wait, latest - time.monotonic()), latest)
                if answer is not None:
                    return answer
                wait *= 2
        except (SSL.Error, OSError) as error:
            msg = f"the association broke: {error or type(error).__name__}"
            raise TransportError(msg) from error
        msg = "the server does not answer"
        raise TransportError(msg)

    def _heard(self, line: ClientAssociation, message: Message, wait: float, latest: float = 0.0) -> Message | None:
        """Return the response, or None on a timeout.

        Args:
            line: connection to the server.
            message: the sent message.
            wait: seconds until it must be answered or acknowledged.
            latest: end of the whole exchange on the monotonic clock. The first empty acknowledgement extends the wait
                up to this time; a second one does not.
        """
        until = time.monotonic() + wait
        acknowledged = min(until + ANSWER_SECONDS, latest)
        while (data := line.receive(until)) is not None:
            try:
                answer = Message.decode(data)
            except (CoapError, ValueError):
                continue
            if answer.mtype is types.ACK and answer.code == codes.EMPTY and answer.mid == message.mid:
                until = max(until, acknowledged)
            elif answer.mtype is types.RST and answer.mid == message.mid:
                msg = "the server rejected this message (reset)"
                raise TransportError(msg)
            elif answer.token == message.token and answer.code.is_response():
                if answer.mtype is types.CON:
                    line.send(Message(code=codes.EMPTY, _mtype=types.ACK, _mid=answer.mid).encode())
                return answer
            elif answer.mtype is types.CON:
                self._aside(line, answer)
        return None

    def _aside(self, line: ClientAssociation, answer: Message) -> None:
        """Acknowledge a notification that arrives in between, and reset messages that were not requested."""
        is_news = answer.token == OBSERVING and answer.code.is_successful()
        self._news = self._news or is_news
        kind = types.ACK if is_news else types.RST
        line.send(Message(code=codes.EMPTY, _mtype=kind, _mid=answer.mid).encode())


def line_to(server: str, anchor: Path, identity: tuple[Path, Path]) -> Transport | CoapTransport:
    """Return a connection to a server: CoAP for ``coaps://``, else HTTPS."""
    carrier = CoapTransport if server.startswith("coaps://") else Transport
    return carrier(server, anchor, identity)
