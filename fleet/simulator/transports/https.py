"""HTTPS with a client certificate, over one keep-alive connection."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from fleet.simulator.transports.base import PATIENCE, Reach

if TYPE_CHECKING:
    import ssl

#: half-open connections of all devices; beyond this the oldest are closed
MOST_HALF_OPEN = 200
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_half_open: deque[Streams] = deque(maxlen=MOST_HALF_OPEN)


class HttpsLine:
    """One connection.

    Args:
        reach: addresses and credentials.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._context: ssl.SSLContext | None = None
        self._streams: Streams | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> int:
        """Send one request. Return its status, or 0 if the connection broke; the next request opens a new one."""
        status, _ = await self.answer(method, path, body, slow=slow)
        return status

    async def answer(self, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> tuple[int, bytes]:
        """Return the status and body of one answer, or 0 and no body if the connection broke."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._reach.host}\r\n"
        head += f"Content-Type: application/cbor\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await self._open()
                writer.write(head.encode() + body)
                await writer.drain()
                if slow:
                    await asyncio.sleep(1)
                return await _answer(reader)
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError):
            self.close()
            return 0, b""

    async def break_off(self, path: str, body: bytes) -> None:
        """Announce more bytes than are sent."""
        try:
            async with asyncio.timeout(PATIENCE):
                _, writer = await self._open()
            head = f"POST {path} HTTP/1.1\r\nHost: {self._reach.host}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body[: len(body) // 2])
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
        except OSError:
            pass
        self.close()

    def lose(self, *, half_open: bool) -> None:
        """Close the connection, or leave it half open like a device that lost its radio link."""
        if self._streams is not None and half_open:
            self._streams[1].transport.pause_reading()  # type: ignore[attr-defined]  # every socket transport has it
            _half_open.append(self._streams)
            self._streams = None
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _open(self) -> Streams:
        if self._streams is None or self._streams[1].is_closing():
            self._context = self._context or self._reach.tls()
            self._streams = await asyncio.open_connection(self._reach.host, self._reach.https, ssl=self._context)
        return self._streams


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0].strip()
    body = await reader.readexactly(int(length or b"0"))
    return int(head.split(b" ", 2)[1]), body
