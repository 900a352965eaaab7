"""Datagrams to the OSCORE socket: as they come, and as what is inside a message that a device has protected."""

import asyncio
import itertools
import time
from contextlib import suppress
from types import SimpleNamespace

from aiocoap import Message
from aiocoap.numbers import codes, types

from devices.services.oscore import BLOCK, Material
from fleet.gateway.coap import mapping, udp
from fleet.gateway.coap import oscore as contexts
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.poll_cache import Answers, PollCache
from pki.kernel.errors import DomainError, NotFoundError
from tests.peers.oscore import ClientContext

KID, SECRET, SALT, PRINT = b"kid-1", bytes(16), bytes(8), "ab" * 32
SOMEBODY = ("192.0.2.1", 5683)


class Rows:
    """Rows in memory, in the database's place."""

    def __init__(self):
        self.blocks = itertools.count(0, BLOCK)

    def context_material(self, kid):
        if kid != KID:
            message = "none"
            raise NotFoundError(message)
        return Material(KID, SECRET, SALT, PRINT, 0)

    def is_context_valid(self, _kid):
        return True

    def note_accepting(self, _kid, number):
        return number + BLOCK

    def reserve_numbers(self, _kid):
        return next(self.blocks)


class Behind:
    """What stands behind the socket: our mapping, as it does behind aiocoap's message layer."""

    def dispatch(self, message):
        with suppress(DomainError):
            mapping.convert_request(message, message.remote.peer)

    def lost(self, speaker):
        pass


class Socket(udp.OscoreSocket):
    """The socket; what fails in it is kept instead of logged."""

    def __init__(self, *given):
        super().__init__(*given)
        self.failed = []

    def _done(self, task):
        self._tasks.discard(task)
        if task.exception() is not None:
            self.failed.append(task.exception())


class Device(ClientContext):
    """A device that protects any bytes whatever."""

    def _split_message(self, message, request_id):
        assert request_id is None
        return Message(code=codes.POST), message.payload


def _table():
    table, now = PollCache(), int(time.time())
    table.put((bytes.fromhex(PRINT), 7, 1, now - 10, now + 10**6))
    table.reached_by({"": 1})
    return table


async def _at_once(act):
    return act()


async def _settle(held, data):
    held.datagram_received(data, SOMEBODY)
    for _ in range(2):  # what is taken may ask for numbers, which is a task of its own
        if held._tasks:
            await asyncio.wait(held._tasks)
        await asyncio.sleep(0)


def target():
    """Return what takes one input: the first byte says whether the rest is a datagram or what is protected in one."""
    rows, real = Rows(), contexts.numbers
    held = Socket(Behind(), FastPath(_table(), Answers()), _at_once, "127.0.0.1:5683")
    held.connection_made(SimpleNamespace(sendto=lambda *_: None))
    loop, device = asyncio.new_event_loop(), Device(SECRET, SALT, KID)

    def run(data):
        raw = data[1:]
        if data[:1] > b"\x40" and len(raw) < 1200:
            outer, _ = device.protect(Message(code=codes.GET, payload=raw or b"\0"))
            outer.mtype, outer.mid, outer.token = types.CON, device.sender_sequence_number & 0xFFFF, b"t"
            raw = outer.encode()
        contexts.numbers = rows
        try:
            loop.run_until_complete(_settle(held, raw))
        finally:
            contexts.numbers = real
        if held.failed:
            raise held.failed.pop()

    return run
