"""A CoAP message over TCP that begins and never ends takes its connection with it."""

import asyncio
import logging
from contextlib import suppress

import pytest

from fleet.gateway.coap.tcp import CoapTcpServer, Connection
from fleet.wire import limits
from tests.regressions import regression


@regression("R2", "half a message of CoAP over TCP, in one piece and byte by byte")
@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_half_a_message_ends_at_a_deadline(pause, monkeypatch):
    monkeypatch.setattr(limits, "GAP_SECONDS", 0.3)
    monkeypatch.setattr(limits, "BODY_GRACE_SECONDS", 0.3)

    async def run():
        loop, server = asyncio.get_running_loop(), CoapTcpServer()
        log = server.log = logging.getLogger(__name__)
        listener = await loop.create_server(lambda: Connection(server, log, loop, is_server=True), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        for byte in b"\xd0\xff" + bytes(40):
            writer.write(bytes((byte,)))
            await asyncio.sleep(pause)
            if reader.at_eof():
                break
        with suppress(ConnectionError):  # it may be reset
            await asyncio.wait_for(reader.read(), 5)
        await asyncio.sleep(0.05)
        left = len(server._pool)
        writer.close()
        listener.close()
        return left

    assert asyncio.run(run()) == 0


@regression("B2", "text options of CoAP over TCP that are not UTF-8")
def test_a_text_option_that_is_no_text_ends_the_connection_and_nothing_else():
    async def run():
        loop, server, escaped = asyncio.get_running_loop(), CoapTcpServer(), []
        loop.set_exception_handler(lambda _, context: escaped.append(context))
        log = server.log = logging.getLogger(__name__)
        listener = await loop.create_server(lambda: Connection(server, log, loop, is_server=True), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b"\x00\xe1" + b"\x40\x01" + b"\x33\xff\xfe\xfd")
        said = b""
        with suppress(ConnectionError):  # it may be reset
            said = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        listener.close()
        return said, [one for one in escaped if isinstance(one.get("exception"), ValueError)]

    said, escaped = asyncio.run(run())
    assert b"The option Uri-Host (3) is not UTF-8." in said
    assert escaped == []
