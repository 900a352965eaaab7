"""CoAP of a device without sockets (RFC 7252, 7959): requests, their blocks, retransmission, and which answer counts.

The agent drives these steps over a blocking socket, and the simulator in an event loop.
"""

import random
import secrets
import time
from collections.abc import Iterator, Mapping

from aiocoap import Message
from aiocoap.error import Error as CoapError
from aiocoap.numbers import codes, types

from fleet.agent.errors import TransportError
from fleet.agent.steps import Steps
from pki.kernel.coap import NUMBERS, tag_bytes

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
OBSERVING = b"obsv"


class CoapExchanges:
    """The exchanges of one device with one server.

    Args:
        source: random source of the jitter.

    Attributes:
        news: whether a notification arrived during another exchange.
    """

    def __init__(self, source: random.Random) -> None:
        self._source, self._mid = source, secrets.randbelow(1 << 16)
        self.news = False

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Message:
        """Return a confirmable request; ``headers`` are those of HTTPS that CoAP has options for."""
        message = Message(
            code=METHODS[method], payload=body, _mtype=types.CON, _mid=self._next_id(), _token=secrets.token_bytes(4)
        )
        message.opt.uri_path = path.strip("/").split("/")
        if "Content-Type" in headers:  # repeated in the requests for further blocks of the same answer
            message.opt.content_format = NUMBERS[headers["Content-Type"]]
        if "Accept" in headers:
            message.opt.accept = NUMBERS[headers["Accept"]]
        if "If-None-Match" in headers:
            message.opt.etags = [tag_bytes(headers["If-None-Match"])]
        if "If-Match" in headers:
            message.opt.if_match = [tag_bytes(headers["If-Match"])]
        return message

    def uploads(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Iterator[Message]:
        """Yield the requests that carry a body: one, or one for each block. Stop unless the answer is 2.31 Continue."""
        if len(body) <= BLOCK:
            yield self.request(method, path, headers, body)
            return
        count = -(-len(body) // BLOCK)
        for number in range(count):
            part = self.request(method, path, headers, body[number * BLOCK : (number + 1) * BLOCK])
            part.opt.block1 = (number, number + 1 < count, EXPONENT)
            yield part

    def ask(self, message: Message) -> Steps[Message]:
        """Send a request until it is answered; repeat it once if the server demands proof of freshness (RFC 9175, 2.3).

        Raises:
            TransportError: no answer, or a reset.
        """
        answer = yield from self._answered(message)
        if answer.code == codes.UNAUTHORIZED and answer.opt.echo is not None:
            message.opt.echo, message.mid = answer.opt.echo, self._next_id()
            answer = yield from self._answered(message)
        return answer

    def hear(self, message: Message, wait: float, latest: float = 0.0) -> Steps[Message | None]:
        """Return the response, or None on a timeout.

        Args:
            message: the sent message.
            wait: seconds until it must be answered or acknowledged.
            latest: end of the whole exchange on the monotonic clock. The first empty acknowledgement extends the wait
                up to this time; a second one does not.

        Raises:
            TransportError: the server reset the message.
        """
        until = time.monotonic() + wait
        acknowledged = min(until + ANSWER_SECONDS, latest)
        while (data := (yield until)) is not None:
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
                    yield _empty(types.ACK, answer)
                return answer
            elif answer.mtype is types.CON:
                yield self._aside(answer)
        return None

    def _answered(self, message: Message) -> Steps[Message]:
        wait, latest = ACK_SECONDS * self._source.uniform(1, FACTOR), time.monotonic() + EXCHANGE_SECONDS
        for _ in range(ATTEMPTS):
            yield bytes(message.encode())
            answer = yield from self.hear(message, min(wait, latest - time.monotonic()), latest)
            if answer is not None:
                return answer
            wait *= 2
        msg = "the server does not answer"
        raise TransportError(msg)

    def _aside(self, answer: Message) -> bytes:
        """Acknowledge a notification that arrives in between, and reset messages that were not requested."""
        is_news = answer.token == OBSERVING and answer.code.is_successful()
        self.news = self.news or is_news
        return _empty(types.ACK if is_news else types.RST, answer)

    def _next_id(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid


def _empty(kind: types.Type, answer: Message) -> bytes:
    return bytes(Message(code=codes.EMPTY, _mtype=kind, _mid=answer.mid).encode())
