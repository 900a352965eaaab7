"""Recognize the bytes of exactly one idle poll over HTTP. Pure: no connection, no clock, no cache."""

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.gateway import codec


@dataclass(frozen=True, slots=True)
class PollMatcher:
    """Recognize an idle poll. Everything else takes the normal path through the parser.

    Args:
        line: request line, with its end.
        harmless: names of header fields, in lower case, that do not affect the answer.
        forms: Accept value in lower case to media type of the answer; the empty value for no field.
        longest: largest number of bytes of a poll.
    """

    line: bytes
    harmless: frozenset[bytes]
    forms: Mapping[bytes, str]
    longest: int

    def match_poll(self, data: bytes) -> tuple[str, str] | None:
        """Parse a poll. Return None for a partial request, several requests, or any other request.

        Returns:
            the host that the client named, without port and brackets, and the media type of the answer.
        """
        if not data.startswith(self.line) or not data.endswith(b"\r\n\r\n") or len(data) > self.longest:
            return None
        harmless, host, form = self.harmless, None, b""
        for line in data[len(self.line) : -4].split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name, value = name.lower(), value.strip(b" \t")
            if not colon or name not in harmless or not value.isascii() or b"\n" in line or b"\r" in line:
                return None
            if name == b"host":
                if host is not None:
                    return None
                host = value
            elif name == b"accept":
                form = value.lower()
        if not host or form not in self.forms:
            return None
        return host.decode("ascii").rsplit(":", 1)[0].strip("[]"), self.forms[form]


#: of the device protocol (docs/reference/device-protocol/polling.md)
DEVICE_POLLS = PollMatcher(
    line=b"GET /v1/poll HTTP/1.1\r\n",
    harmless=frozenset({b"host", b"accept", b"accept-encoding", b"accept-language", b"user-agent"}),
    forms={b"": codec.CBOR, b"*/*": codec.CBOR, b"application/cbor": codec.CBOR, b"application/json": codec.JSON},
    longest=1024,
)
