"""Checks of HTTP/1.0 and HTTP/1.1 request heads (RFC 9110, RFC 9112) that the parser does not make. Pure."""

import re

from fleet.wire import limits

Fields = list[tuple[bytes, bytes]]
#: status line and sentence
Refusal = tuple[bytes, str]
BAD = b"400 Bad Request"
NOT_IMPLEMENTED = b"501 Not Implemented"
WRONG_VERSION = (b"505 HTTP Version Not Supported", "Use HTTP/1.1.")
VERSIONS = frozenset({"1.0", "1.1"})
#: of a Host field (RFC 9110, 7.2; RFC 3986, 3.2.2): a name or an address, and a port
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)


def wrong_head(version: str, method: bytes, fields: Fields) -> Refusal | None:
    """Return the reason to refuse a head, or None."""
    if version not in VERSIONS:
        return WRONG_VERSION
    if method in {b"CONNECT", b"TRACE"}:
        return NOT_IMPLEMENTED, "CONNECT and TRACE are not supported."
    return _wrong_host(version, fields) or _wrong_coding(version, fields) or _wrong_expectation(fields)


def _wrong_host(version: str, fields: Fields) -> Refusal | None:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1") or not all(map(_HOST.fullmatch, hosts)):
        return BAD, "An HTTP/1.1 request must have exactly one Host field with a valid host."
    return None


def _wrong_coding(version: str, fields: Fields) -> Refusal | None:
    coding = b",".join(value.strip(b" \t").lower() for name, value in fields if name == b"transfer-encoding")
    if coding and version == "1.0":
        return BAD, "HTTP/1.0 does not support Transfer-Encoding. Send Content-Length."
    if coding and coding.rpartition(b",")[2].strip(b" \t") != b"chunked":
        return BAD, "The last transfer coding of a request must be chunked."
    if coding not in {b"", b"chunked"}:
        return NOT_IMPLEMENTED, "Only the transfer coding chunked is supported."
    return None


def _wrong_expectation(fields: Fields) -> Refusal | None:
    if any(value.lower() != b"100-continue" for name, value in fields if name == b"expect"):
        return b"417 Expectation Failed", "Only the expectation 100-continue is supported."
    return None


def origin_form(url: bytes, fields: Fields) -> tuple[bytes, Fields] | Refusal:
    """Return the target in origin form (RFC 9112, 3.2) and the fields, or the reason to refuse them."""
    absolute = _ABSOLUTE.match(url)
    if absolute is not None:
        if not _HOST.fullmatch(absolute[1]):
            return BAD, "The host of the request target is not valid."
        rest = url[absolute.end() :]
        url = rest if rest.startswith(b"/") else b"/" + rest
        fields = [*(field for field in fields if field[0] != b"host"), (b"host", absolute[1])]
    if not url.startswith(b"/") or b"#" in url:
        return BAD, "The request target must be a path that begins with a slash."
    if url.partition(b"?")[2].count(b"&") >= limits.MOST_QUERY:
        return BAD, f"The query has too many fields. The limit is {limits.MOST_QUERY}."
    # Otherwise a URL parser would read the first part of the path as a host.
    return b"/" + url.lstrip(b"/") if url.startswith(b"//") else url, fields


def is_bare(data: bytes) -> bool:
    """Return whether a request line has no version, as in HTTP/0.9, where it is the whole request."""
    line, end, _ = data.lstrip(b"\r\n").partition(b"\n")
    return bool(end) and b" HTTP/" not in line
