"""Plain coap:// for the benchmark only: poll and blob without encryption, on loopback, as one fixed device.

There is no identity in plain CoAP. This listener exists to be measured beside libcoap's plain server; ``serve_coap``
refuses it on any address but loopback.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiocoap import Message
from aiocoap.numbers import types

from fleet.gateway.coap.fast import FastPath
from fleet.gateway.coap.remote import SocketAddress
from fleet.gateway.protocol import TransportPeer


class PlainBench(asyncio.DatagramProtocol):
    """One plain UDP socket.

    Args:
        fast: the same fast path as over DTLS.
        answer: the normal path.
        fingerprint: of the device that stands for the sender of every datagram.
    """

    _transport: asyncio.DatagramTransport

    def __init__(
        self, fast: FastPath, answer: Callable[[Message, TransportPeer], Awaitable[Message]], fingerprint: str
    ) -> None:
        self._fast, self._answer = fast, answer
        self._key, self._peer = bytes.fromhex(fingerprint), TransportPeer(fingerprint, b"", "127.0.0.1")
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio says which kind by the protocol

    def datagram_received(self, data: bytes, addr: SocketAddress) -> None:
        """Answer a datagram."""
        answer = self._fast.answer(data, self._key, "127.0.0.1")
        if answer is not None:
            self._transport.sendto(answer, addr)
            return
        task = asyncio.create_task(self._slowly(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _slowly(self, data: bytes, addr: SocketAddress) -> None:
        asked = Message.decode(data)
        answer = await self._answer(asked, self._peer)
        answer.mtype, answer.mid, answer.token = types.ACK, asked.mid, asked.token
        self._transport.sendto(answer.encode(), addr)
