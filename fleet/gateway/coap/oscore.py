"""OSCORE contexts (RFC 8613) in the memory of the process that owns them: limited, loaded on demand.

aiocoap implements the cryptography. This module loads contexts, bounds their number, and ensures that no sequence
number is used twice: numbers are reserved in the database first, so that a crash can only skip some.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiocoap import Message, oscore
from aiocoap.error import Error as CoapError
from django.db import DatabaseError

from devices.services import oscore as numbers
from devices.services.oscore import BLOCK, KID_BYTES, Material
from pki.kernel.errors import LimitedError, NotFoundError

if TYPE_CHECKING:
    from aiocoap.interfaces import EndpointAddress

#: most contexts, a few kilobytes each; the least recently used one is evicted
MOST_CONTEXTS = 10_000
#: most contexts that load at once; further datagrams of unknown devices are dropped, and devices repeat them
MOST_LOADING = 64
WINDOW = 32
#: remaining sender numbers below which the next block is reserved
FEW_LEFT = 16
ECHO_BYTES = 8
T = TypeVar("T")
#: result of work on one context
_Done = TypeVar("_Done", "SecurityContext", None)
_logger = logging.getLogger("muster.coap")


class InThread(Protocol):
    """Runs a function in a thread and awaits its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what the work returns."""


class SecurityContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # aiocoap has no types
    """One device's context, as the server sees it.

    Args:
        given: input of the key derivation.
    """

    alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
    hashfun = oscore.hashfunctions["sha256"]
    id_context = None
    sender_id = b""

    def __init__(self, given: Material) -> None:
        self.recipient_id, self.fingerprint = given.kid, given.fingerprint
        self.certificate_key = bytes.fromhex(given.fingerprint)
        self.derive_keys(given.salt, given.secret)
        #: the device has changed: recheck the context before its next use
        self.doubtful = False
        self.accepted_end = given.recipient_next
        self.echo_recovery = secrets.token_bytes(ECHO_BYTES)
        self.recipient_replay_window = _window()
        self.sender_sequence_number = self.sender_end = 0
        #: recent addresses of the device, newest last
        self.remotes: OrderedDict[object, EndpointAddress] = OrderedDict()
        self._written = False
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<OSCORE context {self.recipient_id.hex()}>"

    @property
    def numbers_left(self) -> int:
        """Return how many of our own numbers are reserved and unused."""
        return self.sender_end - self.sender_sequence_number

    @property
    def next_accepted(self) -> int:
        """Return the number after the highest that was accepted in this memory; 0 for none."""
        if not self.recipient_replay_window.is_initialized():
            return 0
        seen = self.recipient_replay_window.persist()
        return int(seen["index"] + seen["bitfield"].bit_length())

    def open(self, message: Message) -> tuple[Message, oscore.RequestIdentifiers]:
        """Unprotect a request. Return it with the data that its answer needs.

        After a restart the replay window is lost; only an upper bound of the accepted numbers is known. A request above
        it is fresh. Any other must prove its freshness with our Echo (RFC 8613, B.1.2).

        Raises:
            ReplayErrorWithEcho: answer with the challenge that it makes.
            ProtectionInvalid: not from this device, or replayed.
        """
        unsure = not self.recipient_replay_window.is_initialized()
        if unsure and _number(message) >= self.accepted_end:
            self.recipient_replay_window.initialize_from_persisted({"index": self.accepted_end, "bitfield": 0})
        try:
            inner, request_id = self.unprotect(message)
        except Exception:
            if unsure:  # the sender is not authenticated
                self.recipient_replay_window = _window()
            raise
        return inner, request_id

    def new_sequence_number(self) -> int:
        """Return an unused sender sequence number.

        Raises:
            ContextUnavailable: no reserved number is left.
        """
        if not self.numbers_left:
            msg = "no sequence number is reserved"
            raise oscore.ContextUnavailable(msg)
        return int(super().new_sequence_number())

    def post_seqnoincrease(self) -> None:
        """Do nothing: numbers are reserved in blocks."""

    async def reserve(self, in_thread: InThread) -> None:
        """Reserve sender numbers if few are left."""
        async with self._lock:
            if self.numbers_left < FEW_LEFT:
                first = await in_thread(lambda: numbers.reserve_numbers(self.recipient_id))
                if first != self.sender_end:  # the clock was ahead: the rest of the last block stays unused
                    self.sender_sequence_number = first
                self.sender_end = first + BLOCK

    async def accept(self, in_thread: InThread) -> None:
        """Store, before a request is processed, that its number and the next ones are used."""
        async with self._lock:
            if not self._written or self.next_accepted > self.accepted_end:
                highest = self.next_accepted
                self.accepted_end = await in_thread(lambda: numbers.note_accepting(self.recipient_id, highest))
                self._written = True

    def ended(self) -> list[tuple[bytes, int, int]]:
        """Return the device's highest number, to be stored when the context is removed."""
        return [(self.recipient_id, self.accepted_end, self.next_accepted)] if self._written else []


class OscoreContexts:
    """The contexts of one process.

    Args:
        in_thread: runs functions that wait for the database or the signer.
        gone: called for each context that is removed.
    """

    def __init__(self, in_thread: InThread, gone: Callable[[SecurityContext], None]) -> None:
        self._in_thread, self._gone = in_thread, gone
        self._held: OrderedDict[bytes, SecurityContext] = OrderedDict()
        self._by_certificate: dict[str, set[bytes]] = {}
        #: pending work per context, one at a time: two copies in memory would accept a number twice
        self._busy: dict[bytes, asyncio.Task[SecurityContext] | asyncio.Task[None]] = {}

    def at_hand(self, kid: bytes) -> SecurityContext | None:
        """Return a context that needs no loading."""
        context = self._held.get(kid)
        if context is None or context.doubtful:
            return None
        self._held.move_to_end(kid)
        return context

    async def get(self, kid: bytes) -> SecurityContext:
        """Return a context; load it from the database if it is not in memory.

        Raises:
            NotFoundError: there is none.
            LimitedError: too many are being loaded.
            SignerError: the signer does not answer.
        """
        while (busy := self._busy.get(kid)) is not None:
            await asyncio.wait([busy])
        if (context := self.at_hand(kid)) is not None:
            return context
        if len(kid) != KID_BYTES:
            msg = "No OSCORE context has this identifier."
            raise NotFoundError(msg)
        if len(self._busy) >= MOST_LOADING:
            msg = "Too many OSCORE contexts are loading. Try again in a moment."
            raise LimitedError(msg)
        loaded: SecurityContext = await self._alone(kid, self._loaded(kid))
        while len(self._held) > MOST_CONTEXTS:
            silent = next((one for one in self._held if one not in self._busy), None)
            if silent is None:
                break
            self._alone(silent, self._rest(self._forget(silent).ended()))
        return loaded

    async def _rest(self, ended: list[tuple[bytes, int, int]]) -> None:
        """Store the highest numbers; if that fails, the device gets a challenge at its next request."""
        try:
            await self._in_thread(lambda: numbers.store_numbers(ended))
        except DatabaseError:
            _logger.warning("the position of an OSCORE context could not be stored", exc_info=True)

    def _alone(self, kid: bytes, work: Coroutine[object, None, _Done]) -> "asyncio.Task[_Done]":
        task = asyncio.ensure_future(work)
        self._busy[kid] = task
        task.add_done_callback(lambda _: self._busy.pop(kid, None))
        return task

    def fingerprints(self) -> set[str]:
        """Return which certificates have a context in memory."""
        return set(self._by_certificate)

    def doubt(self, fingerprints: set[str]) -> None:
        """Recheck the contexts of these certificates before their next use."""
        for kid in self._of(fingerprints):
            self._held[kid].doubtful = True

    def drop(self, fingerprints: set[str]) -> None:
        """Remove the contexts of these certificates."""
        for kid in self._of(fingerprints):
            self._forget(kid)

    async def close(self) -> None:
        """Store the positions of all contexts, so that no device is challenged after a restart."""
        if self._busy:
            await asyncio.wait(list(self._busy.values()))
        ended = [position for context in self._held.values() for position in context.ended()]
        self._held = OrderedDict()
        await self._rest(ended)

    def _of(self, fingerprints: set[str]) -> list[bytes]:
        return [kid for fingerprint in fingerprints for kid in self._by_certificate.get(fingerprint, ())]

    async def _loaded(self, kid: bytes) -> SecurityContext:
        held = self._held.get(kid)
        if held is not None:
            stands = await self._in_thread(lambda: numbers.is_context_valid(kid))
            if self._held.get(kid) is held:  # else it was dropped meanwhile
                if stands:
                    held.doubtful = False
                    return held
                self._forget(kid)
        given = await self._in_thread(lambda: numbers.context_material(kid))
        context = self._held[kid] = SecurityContext(given)
        self._by_certificate.setdefault(context.fingerprint, set()).add(kid)
        return context

    def _forget(self, kid: bytes) -> SecurityContext:
        gone = self._held.pop(kid)
        same = self._by_certificate[gone.fingerprint]
        same.discard(kid)
        if not same:
            del self._by_certificate[gone.fingerprint]
        self._gone(gone)
        return gone


def kid_of(message: Message) -> bytes:
    """Return the Sender ID that a protected request names, or nothing."""
    try:
        return bytes(oscore.verify_start(message).get(oscore.COSE_KID, b""))
    except (CoapError, ValueError, IndexError, UnboundLocalError):  # aiocoap's parser fails on some malformed options
        return b""


def _number(message: Message) -> int:
    return int.from_bytes(oscore.verify_start(message).get(oscore.COSE_PIV, b""), "big")


def _window() -> oscore.ReplayWindow:
    return oscore.ReplayWindow(WINDOW, lambda: None)
