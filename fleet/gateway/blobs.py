"""Send a file over ASGI in ranges (RFC 9110, section 14): one range, If-Range, HEAD, 304, 416.

A file in an object store is sent through this server, or the device is redirected there (307).
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from fleet.gateway.protocol import DeviceRequest, Reply
from fleet.wire.asgi import Send
from ota.blobs.verified import demand_stamp
from ota.services import downloads
from ota.services.downloads import Download
from pki.kernel.errors import DomainError

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes to send.

    Args:
        status: 200, 206, 304, 307, 412 or 416.
        start: first byte.
        length: bytes to send; 0 where there is no body.
    """

    status: int
    start: int
    length: int


def choose_range(headers: dict[str, str], size: int, etag: str) -> ByteRange:
    """Choose the bytes to send from the request's header fields, in the order of RFC 9110, 13.2.2. Pure."""
    if "if-match" in headers and not {etag, "*"} & _tags(headers["if-match"]):
        return ByteRange(412, 0, 0)
    if {etag, f"W/{etag}", "*"} & _tags(headers.get("if-none-match", "")):
        return ByteRange(304, 0, 0)
    field = headers.get("range", "")
    match = _RANGE.fullmatch(field.strip())
    first, last = match.groups() if match is not None else ("", "")
    backwards = bool(first and last) and int(last) < int(first)  # not a valid range, so ignored (RFC 9110, 14.1.1)
    if first == last == "" or backwards or headers.get("if-range", etag) != etag:
        return ByteRange(200, 0, size)
    if not first:
        start = max(size - int(last), 0)
        return ByteRange(206, start, size - start) if int(last) else ByteRange(416, 0, 0)
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    return ByteRange(206, start, end - start + 1) if start <= end else ByteRange(416, 0, 0)


def headers_of(reply: Reply, part: ByteRange, size: int) -> list[tuple[bytes, bytes]]:
    """Return the header fields of the answer."""
    fields = {
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
        **reply.headers,
    }
    if part.status in {200, 206}:
        fields["content-length"] = str(part.length)
    elif part.status != 304:  # noqa: PLR2004  because a length there would be the file's (RFC 9110, 8.6)
        fields["content-length"] = "0"
    if part.status == 206:  # noqa: PLR2004  because it is Partial Content
        fields["content-range"] = f"bytes {part.start}-{part.start + part.length - 1}/{size}"
    if part.status == 416:  # noqa: PLR2004  because it is Range Not Satisfiable
        fields["content-range"] = f"bytes */{size}"
    return [(name.encode(), value.encode()) for name, value in fields.items()]


async def send_blob(request: DeviceRequest, reply: Reply, file: Download, out: Send) -> int:
    """Send the file or the requested range. Return the status."""
    # Ranges apply to GET only (RFC 9110, 14.2).
    fields = {name: value for name, value in request.headers.items() if name != "range" or request.method == "GET"}
    part = choose_range(fields, file.size, reply.headers["etag"])
    start = {
        "type": "http.response.start",
        "status": part.status,
        "headers": headers_of(reply, part, file.size),
    }
    if request.method == "HEAD" or not part.length:
        await out(start)
        await out({"type": "http.response.body", "body": b""})
        return part.status
    if file.path is None:
        return await _from_bucket(reply, file, part, start, out)
    # A read from the page cache is faster than a thread switch.
    with file.path.open("rb") as stream:
        demand_stamp(stream, file.stamp)
        await out(start)
        await _copy(stream, file, part, out)
    return part.status


async def _from_bucket(reply: Reply, file: Download, part: ByteRange, start: dict[str, object], out: Send) -> int:
    """Redirect the device to the object store, or relay the file. Report store errors before the answer starts."""
    if reply.direct and (address := await asyncio.to_thread(downloads.presigned_address, file)):
        fields = [(b"location", address.encode()), (b"cache-control", b"no-store"), (b"content-length", b"0")]
        await out({"type": "http.response.start", "status": 307, "headers": fields})
        await out({"type": "http.response.body", "body": b""})
        return 307
    # Our own clients verify the digest. For others, withhold the end of a file with a wrong digest.
    ends = part.start + part.length == file.size
    checked = ends and not reply.direct
    start_at, length = part.start, part.length
    pieces = downloads.read_end(file, start_at) if checked else downloads.read_download(file, start_at, length)
    try:
        data = await asyncio.to_thread(next, pieces, b"")
        await out(start)
        await _relay(pieces, data, part.length, out)
    finally:
        with suppress(ValueError):  # a thread still reads from it and ends it afterwards
            pieces.close()  # type: ignore[attr-defined]  # it is a generator
    return part.status


async def _relay(pieces: Iterator[bytes], data: bytes, rest: int, out: Send) -> None:
    try:
        while data:
            rest -= len(data)
            await out({"type": "http.response.body", "body": data, "more_body": rest > 0})
            data = await asyncio.to_thread(next, pieces, b"") if rest else b""
    except DomainError as error:  # the answer has started, so no error can be sent
        raise OSError(error.detail) from error
    if rest:
        msg = "A stored blob is shorter than its recorded size."
        raise OSError(msg)


async def _copy(stream: BinaryIO, file: Download, part: ByteRange, out: Send) -> None:
    stream.seek(part.start)
    rest = part.length
    while rest:
        data = stream.read(min(CHUNK, rest))
        demand_stamp(stream, file.stamp)
        if not data:
            msg = "A stored blob is shorter than its recorded size."
            raise OSError(msg)
        rest -= len(data)
        await out({"type": "http.response.body", "body": data, "more_body": rest > 0})


def _tags(value: str) -> set[str]:
    """Return the entity tags of a field. Keep weak marks, because If-Match compares strongly (RFC 9110, 8.8.3.2)."""
    return {tag.strip() for tag in value.split(",")}
