"""How much one connection may ask: the counters behind ``limits``, and the refusal when one is full.

Pure: no connection and no clock. Whoever reads the connection tells what came, and acts on what is returned.
"""

from fleet.wire import limits
from fleet.wire.heads import BAD, WRONG_VERSION, Fields, Refusal, is_bare

LONG_HEAD: Refusal = (
    b"431 Request Header Fields Too Large",
    f"A request has at most {limits.MOST_FIELDS} header fields and {limits.MOST_HEAD} bytes before its body.",
)
LONG_TARGET: Refusal = (b"414 URI Too Long", f"A request target has at most {limits.MOST_LINE} bytes.")
THIN_CHUNKS: Refusal = (BAD, "The chunks of the body hold too little data for their number and extensions.")


class RequestLimits:
    """The counters of one connection.

    What comes is told by ``data_came`` before it is parsed; ``head_came`` and ``framing_refusal`` are asked after it.
    """

    __slots__ = ("_begun", "_fields", "_framing", "_head", "_unread")

    def __init__(self) -> None:
        self._head = 0  # bytes of a head that is not complete
        self._fields = 0  # header fields of the request that comes in
        self._begun = 0  # requests that began in the last data
        self._framing = 0  # bytes that were neither head nor body, less what the body allows
        self._unread = 0  # bytes after a refusal

    def data_came(self, size: int) -> None:
        """Count data that is about to be parsed."""
        self._begun = 0
        self._framing += size

    def request_began(self) -> None:
        """Begin to count the head of a request."""
        self._head = self._fields = 0
        self._begun += 1

    def target_refusal(self, size: int) -> Refusal | None:
        """Return why a request target of so many bytes is refused, or None."""
        return LONG_TARGET if size > limits.MOST_LINE else None

    def field_came(self) -> Refusal | None:
        """Count a header field; return why it is one too many, or None."""
        self._fields += 1
        return LONG_HEAD if self._fields > limits.MOST_FIELDS else None

    def head_came(self, data: bytes, *, begun: bool, fresh: bool) -> Refusal | None:
        """Count data that ended within a head; return why the head is refused, or None.

        A head that begins behind the end of another request is counted from the next data on.

        Args:
            data: all of it, as it came.
            begun: whether a head had begun before.
            fresh: whether no request was incomplete before.
        """
        alone = fresh and not begun and self._begun == 1
        if begun or alone:
            self._head += len(data)
        if alone and is_bare(data):
            return WRONG_VERSION
        return LONG_HEAD if self._head > limits.MOST_HEAD else None

    def head_ended(self) -> None:
        """Begin to count the framing of a body."""
        self._head = self._framing = 0

    def size_refusal(self, target: bytes, fields: Fields) -> Refusal | None:
        """Return why a whole head is too long, or None."""
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in fields)
        return LONG_HEAD if size > limits.MOST_HEAD else None

    def is_crowded(self, waiting: int) -> bool:
        """Say whether so many requests wait on the connection that no further one is taken."""
        return waiting >= limits.MOST_PIPELINED

    def body_came(self, size: int) -> None:
        """Count a piece of a body: it allows for some more framing."""
        self._framing -= size * (1 + limits.FRAMING_A_BYTE)

    def body_ended(self) -> None:
        """End a request."""
        self._framing = 0

    def framing_refusal(self) -> Refusal | None:
        """Return why a body that is not complete is refused, or None."""
        return THIN_CHUNKS if self._framing > limits.FRAMING else None

    def is_flooded(self, size: int) -> bool:
        """Count data that came after a refusal; say whether it is more than is read away."""
        self._unread += size
        return self._unread > limits.LINGER_BYTES
