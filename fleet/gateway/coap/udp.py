"""The plain UDP socket: OSCORE (RFC 8613) for devices that have a context, ``/.well-known/core`` for all others.

OSCORE messages are unprotected before aiocoap's message layer and protected after it, so the layers above treat OSCORE
and DTLS devices alike. An unauthenticated client leaves no state: it is answered at once, with at most three times the
bytes that it sent, including IP and UDP headers (RFC 9175, 2.4).
"""

import asyncio
import hashlib
import logging
import secrets
import socket
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TypeVar

from aiocoap import Message, error, interfaces, oscore
from aiocoap.message import Direction
from aiocoap.numbers import codes, types
from aiocoap.transports import generic_udp
from aiocoap.util import hostportjoin
from django.conf import settings
from django.db import DatabaseError

from devices.services import presence
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.coap.links import WELL_KNOWN, find_links
from fleet.gateway.coap.oscore import FEW_LEFT, InThread, OscoreContexts, SecurityContext, kid_of
from fleet.gateway.coap.remote import CoapRemote, SocketAddress
from fleet.gateway.protocol import ResponseOutcome, TransportPeer
from fleet.wire.networks import network_of
from fleet.wire.rates import DETAIL, Rates
from pki.kernel.errors import DomainError, LimitedError, NotFoundError

LONGEST = 1500
#: most datagrams in progress; further ones are dropped, and devices repeat them
MOST_WAITING = 512
#: per device and address: requests remembered for deduplication, and stored answers
MOST_ASKED, MOST_ANSWERS = 32, 4
#: most concurrent addresses of one context
MOST_ADDRESSES = 4
#: most notifications without acknowledgement
MOST_EXPECTED = 10_000
#: block size exponent for unauthenticated clients: 64 bytes
SMALL = 2
LINK_FORMAT = 40
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_logger = logging.getLogger("muster.coap")


class Speaker(CoapRemote):
    """A device that uses OSCORE from one address.

    Args:
        server: the socket.
        address: address of the device.
        context: its verified OSCORE context.
    """

    def __init__(self, server: "OscoreSocket", address: SocketAddress, context: SecurityContext) -> None:
        super().__init__(server.hostinfo_local, address)
        self.server, self.context = server, context
        self._asked: OrderedDict[int, bytes] = OrderedDict()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._last: tuple[Message | None, bytes] = (None, b"")

    @property
    def peer(self) -> TransportPeer:
        """Return the peer: the device whose certificate the context belongs to; no certificate was presented."""
        return TransportPeer(self.context.fingerprint, b"", str(self.address[0]))

    @property
    def authenticated_claims(self) -> list[str]:
        """Return the fingerprint of the device's certificate."""
        return [self.context.fingerprint]

    @property
    def blockwise_key(self) -> tuple[SocketAddress, bytes]:
        """Return the key that blocks of one body share; never the address alone."""
        return self.address, self.context.recipient_id

    def asks(self, message: Message, data: bytes) -> None:
        """Record a request for deduplication."""
        _keep(self._asked, message.mid, _digest(data), MOST_ASKED)

    def repeated(self, data: bytes) -> bytes | None:
        """Return the stored answer to a repeated datagram, empty while it is pending; None for a new datagram."""
        digest = _digest(data)
        return self._answers.get(digest, b"") if digest in self._asked.values() else None

    def send(self, message: Message) -> None:
        """Protect and send a message of aiocoap, bound to the request that it answers."""
        if message.code == codes.EMPTY:
            self.server.write(message.encode(), self.address)
            return
        if self._last[0] is not message:  # else it repeats a notification unchanged
            try:
                self._last = message, self._protected(message, message.request.protection)
            except oscore.ContextUnavailable:
                self.server.provide(self.context)  # nothing is sent until then; confirmable messages are repeated
                return
        data = self._last[1]
        if message.mtype is types.ACK and (asked := self._asked.get(message.mid)) is not None:
            _keep(self._answers, asked, data, MOST_ANSWERS)
        elif message.mtype is types.CON:
            self.server.expect(self, message.mid)
        self.server.write(data, self.address)

    def _protected(self, message: Message, request_id: oscore.RequestIdentifiers) -> bytes:
        notification = message.opt.observe is not None
        inner = message.copy(observe=0) if notification else message
        outer, _ = self.context.protect(inner, request_id)
        outer.mtype, outer.mid, outer.token = message.mtype, message.mid, message.token
        if notification:
            outer.opt.observe = self.context.sender_sequence_number & 0xFFFFFF
            if self.context.numbers_left < FEW_LEFT:
                self.server.provide(self.context)
        return bytes(outer.encode())


class OscoreSocket(asyncio.DatagramProtocol):
    """The socket.

    Args:
        interface: passes messages to aiocoap.
        fast: fast path for the most frequent requests.
        in_thread: runs functions that wait for the database or the signer.
        name: host and port of the socket.
    """

    _transport: asyncio.DatagramTransport

    def __init__(self, interface: "OscoreInterface", fast: FastPath, in_thread: InThread, name: str) -> None:
        self._interface, self._fast, self._in_thread = interface, fast, in_thread
        self.contexts = OscoreContexts(in_thread, self._gone)
        self.hostinfo_local = name
        self._waiting: set[tuple[SocketAddress, bytes]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = Rates(0, settings.FLEET_STRANGERS_A_MINUTE)
        self._asking: set[str] = set()
        self._expected: OrderedDict[tuple[SocketAddress, int], Speaker] = OrderedDict()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio says which kind by the protocol

    def write(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram."""
        self._transport.sendto(datagram, address)

    def expect(self, speaker: Speaker, mid: int) -> None:
        """Record the peer that will acknowledge a message."""
        _keep(self._expected, (speaker.address, mid), speaker, MOST_EXPECTED)

    def provide(self, context: SecurityContext) -> None:
        """Schedule the reservation of sender numbers for a context."""
        self._later(context.reserve(self._in_thread))

    def fingerprints(self) -> set[str]:
        """Return the certificates with a context in memory."""
        return self.contexts.fingerprints()

    def doubt(self, fingerprints: set[str]) -> None:
        """Recheck the contexts of these certificates before their next use."""
        self.contexts.doubt(fingerprints)

    def cut(self, fingerprints: set[str]) -> None:
        """Remove the contexts of these certificates and their observations."""
        self.contexts.drop(fingerprints)

    def datagram_received(self, data: bytes, addr: SocketAddress) -> None:
        """Process one datagram."""
        if not data or len(data) > LONGEST or data[0] >> 6 != 1:
            return
        try:
            message = Message.decode(data)
        except (error.Error, ValueError):
            return
        if message.code == codes.EMPTY:
            self._empty(message, addr)
        elif not message.code.is_request() or message.mtype not in {types.CON, types.NON}:
            return
        elif message.opt.oscore is None:
            self._send(message, addr, _plainly(message))
        elif len(self._waiting) < MOST_WAITING and (addr, data) not in self._waiting:
            self._waiting.add((addr, data))
            self._later(self._take(message, data, addr))

    async def shutdown(self) -> None:
        """Store the positions of all contexts, and close."""
        for task in tuple(self._tasks):
            task.cancel()
        await self.contexts.close()
        self._transport.abort()

    def _empty(self, message: Message, addr: SocketAddress) -> None:
        """Pass an acknowledgement or a reset to its recipient; answer a ping (RFC 7252, 4.3)."""
        if message.mtype is types.CON:
            self.write(Message(code=codes.EMPTY, _mtype=types.RST, _mid=message.mid).encode(), addr)
        elif (speaker := self._expected.pop((addr, message.mid), None)) is not None:
            message.remote = speaker
            self._interface.dispatch(message)

    async def _take(self, message: Message, data: bytes, addr: SocketAddress) -> None:
        kid, network, address = kid_of(message), network_of(str(addr[0])), str(addr[0])
        seconds = 0 if self.contexts.at_hand(kid) is not None else self._strangers.wait("", address)
        if (
            seconds and network in self._asking
        ):  # after too many failures of a network, one unknown name is looked up at a time
            self._refuse(message, addr, codes.TOO_MANY_REQUESTS, DETAIL.encode(), seconds)
            self._waiting.discard((addr, data))
            return
        self._asking.add(network)
        try:
            context = await self.contexts.get(kid)
            self._asking.discard(network)
            speaker: Speaker | None = context.remotes.get(addr)
            if speaker is None or (said := speaker.repeated(data)) is None:
                await self._open(context, message, data, addr)
            else:
                presence.note_peer(context.fingerprint, "coap_retransmits")
                if said:
                    self.write(said, addr)
        except NotFoundError:
            self._strangers.answered("", address, ResponseOutcome.UNAUTHENTICATED.value)
            self._refuse(message, addr, codes.UNAUTHORIZED, b"Security context not found")
        except LimitedError:
            return  # too many unknown clients at once; a real device repeats its request
        except (DomainError, DatabaseError) as problem:
            # No answer: the number could not be stored as used, and each number may be answered only once.
            _logger.warning("an OSCORE request was deferred", extra={"cause": str(problem)})
        finally:
            self._asking.discard(network)
            self._waiting.discard((addr, data))

    async def _open(self, context: SecurityContext, message: Message, data: bytes, addr: SocketAddress) -> None:
        """Unprotect a request and dispatch it, or answer with an error (RFC 8613, 8.2)."""
        try:
            inner, request_id = context.open(message)
        except oscore.ReplayErrorWithEcho as challenge:
            await context.reserve(self._in_thread)
            self._send(message, addr, challenge.to_message())
        except oscore.ReplayError:
            self._refuse(message, addr, codes.UNAUTHORIZED, b"Replay detected")
        except oscore.DecodeError:
            self._refuse(message, addr, codes.BAD_OPTION, b"Failed to decode COSE")
        except Exception:  # noqa: BLE001  because aiocoap's parser fails on malformed options in several ways
            self._refuse(message, addr, codes.BAD_REQUEST, b"Decryption failed")
        else:
            speaker = self._speaker(context, addr)
            speaker.asks(message, data)
            await context.accept(self._in_thread)
            if not request_id.can_reuse_nonce or inner.opt.observe is not None:
                await context.reserve(self._in_thread)
            inner.protection = request_id
            self._answer(speaker, message, inner)

    def _answer(self, speaker: Speaker, message: Message, inner: Message) -> None:
        """Pass a request to the fast path, else to aiocoap."""
        if not inner.code.is_request():
            return
        inner.mtype, inner.mid, inner.token, inner.remote = message.mtype, message.mid, message.token, speaker
        if message.opt.uri_host is not None:
            inner.opt.uri_host = message.opt.uri_host  # class U: not protected, so changing it can only cause a refusal
        made = self._fast.answer(_raw(inner), speaker.context.certificate_key, str(speaker.address[0]))
        if made is not None:
            answer = Message.decode(made)
            answer.direction, answer.request = Direction.OUTGOING, inner
            speaker.send(answer)
            return
        self._interface.dispatch(inner)

    def _speaker(self, context: SecurityContext, addr: SocketAddress) -> Speaker:
        """Return the remote of a context at an address; keep the remotes of its last few addresses."""
        if addr not in context.remotes:
            context.remotes[addr] = Speaker(self, addr, context)
            while len(context.remotes) > MOST_ADDRESSES:
                self._interface.lost(context.remotes.popitem(last=False)[1])
        context.remotes.move_to_end(addr)
        speaker: Speaker = context.remotes[addr]
        return speaker

    def _gone(self, context: SecurityContext) -> None:
        while context.remotes:
            self._interface.lost(context.remotes.popitem()[1])

    def _refuse(self, message: Message, addr: SocketAddress, code: codes.Code, why: bytes, wait: int = 0) -> None:
        if message.mtype is types.CON:
            self._send(message, addr, Message(code=code, payload=why, max_age=wait))

    def _send(self, message: Message, addr: SocketAddress, answer: Message) -> None:
        """Send an answer at once."""
        confirmable = message.mtype is types.CON
        answer.mtype = types.ACK if confirmable else types.NON
        answer.mid = message.mid if confirmable else secrets.randbelow(1 << 16)
        answer.token = message.token
        self.write(answer.encode(), addr)

    def _later(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            _logger.error("an OSCORE request failed", exc_info=problem)


class OscoreInterface(generic_udp.GenericMessageInterface):  # type: ignore[misc]  # aiocoap has no types
    """OSCORE over UDP for aiocoap."""

    _pool: OscoreSocket

    @classmethod
    async def start(
        cls,
        manager: interfaces.MessageManager,
        log: logging.Logger,
        bound: socket.socket,
        fast: FastPath,
        in_thread: InThread,
    ) -> "OscoreInterface":
        """Return the interface over a bound UDP socket, served by one process only: contexts live in its memory."""
        loop = asyncio.get_running_loop()
        interface = cls(manager, log, loop)
        name = hostportjoin(*bound.getsockname()[:2])
        _, interface._pool = await loop.create_datagram_endpoint(
            lambda: OscoreSocket(interface, fast, in_thread, name), sock=bound
        )
        return interface

    @property
    def socket(self) -> OscoreSocket:
        """Return the socket."""
        return self._pool

    def dispatch(self, message: Message) -> None:
        """Pass a message to aiocoap."""
        if self._mman is not None:
            self._mman.dispatch_message(message)

    def lost(self, speaker: Speaker) -> None:
        """Tell aiocoap that a device has left an address, which ends its observations there."""
        if self._mman is not None:
            self._mman.dispatch_error(error.LibraryShutdown("the device has left this address"), speaker)

    def send(self, message: Message) -> None:
        """Send a message of aiocoap."""
        if self._mman is not None:
            message.remote.send(message)

    async def recognize_remote(self, remote: object) -> bool:
        """Return whether a remote belongs to this interface."""
        return isinstance(remote, Speaker) and remote.server is self._pool


def _raw(inner: Message) -> bytes:
    """Return the bytes of the unprotected request for the fast path; empty if the fast path cannot answer it."""
    if inner.payload or inner.opt.observe is not None:
        return b""
    head = bytes((0x40 | int(inner.mtype) << 4 | len(inner.token), int(inner.code)))
    try:
        return bytes(head + inner.mid.to_bytes(2, "big") + inner.token + inner.opt.encode())
    except ValueError:  # an option that aiocoap can read but not write
        return b""


def _plainly(message: Message) -> Message:
    """Return the answer to an unauthenticated client: the resource list in small blocks."""
    if tuple(message.opt.uri_path) != WELL_KNOWN or message.code != codes.GET:
        return Message(code=codes.UNAUTHORIZED, payload=b"Use OSCORE, or coaps://.")
    resource_type = next((one[3:] for one in message.opt.uri_query if one.startswith("rt=")), "")
    text = find_links(resource_type, in_oscore=True).encode()
    asked = message.opt.block2
    exponent = min(asked.size_exponent, SMALL) if asked is not None else SMALL
    number = asked.block_number if asked is not None else 0
    start, size = number << exponent + 4, 1 << exponent + 4
    if start and start >= len(text):
        return Message(code=codes.BAD_REQUEST)
    made = Message(code=codes.CONTENT, payload=text[start : start + size], content_format=LINK_FORMAT)
    made.opt.block2 = (number, start + size < len(text), exponent)
    return made


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _keep(held: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    held.pop(key, None)
    held[key] = value
    while len(held) > most:
        held.popitem(last=False)
