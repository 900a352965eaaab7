"""The counters of one connection for ``limits``, and the refusals.

Pure: no connection and no clock. The protocol reports received data, and acts on the result.
"""

from fleet.wire import limits
from fleet.wire.heads import BAD, WRONG_VERSION, Fields, Refusal, is_bare

LONG_HEAD: Refusal = (
    b"431 Request Header Fields Too Large",
    f"The request head is too long. Limits: {limits.MOST_FIELDS} header fields, {limits.MOST_HEAD} bytes.",
)
LONG_TARGET: Refusal = (b"414 URI Too Long", f"The request target is too long. Limit: {limits.MOST_LINE} bytes.")
THIN_CHUNKS: Refusal = (BAD, "The chunks of the body are too small, or their extensions too long. Send larger chunks.")


class RequestLimits:
    """The counters of one connection.

    Call ``data_came`` before the data is parsed, and ``head_came`` and ``framing_refusal`` after it.
    """

    __slots__ = ("_begun", "_fields", "_framing", "_head", "_unread")

    def __init__(self) -> None:
        self._head = 0  # bytes of an incomplete head
        self._fields = 0  # header fields of the current request
        self._begun = 0  # requests that started in the last data
        self._framing = 0  # bytes that are neither head nor body, minus the allowance of the body
        self._unread = 0  # bytes after a refusal

    def data_came(self, size: int) -> None:
        """Count data that is about to be parsed."""
        self._begun = 0
        self._framing += size

    def request_began(self) -> None:
        """Start to count the head of a request."""
        self._head = self._fields = 0
        self._begun += 1

    def target_refusal(self, size: int) -> Refusal | None:
        """Return the reason to refuse a request target of this length, or None."""
        return LONG_TARGET if size > limits.MOST_LINE else None

    def field_came(self) -> Refusal | None:
        """Count a header field. Return the reason to refuse it, or None."""
        self._fields += 1
        return LONG_HEAD if self._fields > limits.MOST_FIELDS else None

    def head_came(self, data: bytes, *, begun: bool, fresh: bool) -> Refusal | None:
        """Count data that ends within a head. Return the reason to refuse the head, or None.

        A head that starts after the end of another request is counted from the next data.

        Args:
            data: the received data.
            begun: whether a head had started before.
            fresh: whether no request was incomplete before.
        """
        alone = fresh and not begun and self._begun == 1
        if begun or alone:
            self._head += len(data)
        if alone and is_bare(data):
            return WRONG_VERSION
        return LONG_HEAD if self._head > limits.MOST_HEAD else None

    def head_ended(self) -> None:
        """Start to count the framing of a body."""
        self._head = self._framing = 0

    def size_refusal(self, target: bytes, fields: Fields) -> Refusal | None:
        """Return the reason to refuse a complete head, or None."""
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in fields)
        return LONG_HEAD if size > limits.MOST_HEAD else None

    def is_crowded(self, waiting: int) -> bool:
        """Return whether too many requests wait on the connection to accept another one."""
        return waiting >= limits.MOST_PIPELINED

    def body_came(self, size: int) -> None:
        """Count a piece of a body, which increases the allowance for framing."""
        self._framing -= size * (1 + limits.FRAMING_A_BYTE)

    def body_ended(self) -> None:
        """End a request."""
        self._framing = 0

    def framing_refusal(self) -> Refusal | None:
        """Return the reason to refuse an incomplete body, or None."""
        return THIN_CHUNKS if self._framing > limits.FRAMING else None

    def is_flooded(self, size: int) -> bool:
        """Count data after a refusal. Return whether it exceeds the limit of discarded data."""
        self._unread += size
        return self._unread > limits.LINGER_BYTES
