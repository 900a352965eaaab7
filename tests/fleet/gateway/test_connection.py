"""One connection of the device gateway over a real socket: heads that are too long, too slow or no heads at all; crowds."""

import asyncio
import gc
import time
import weakref
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from fleet.gateway import connection
from fleet.gateway.connection import DeviceConnections, make_device_protocol
from fleet.gateway.poll_cache import Answers, PollCache
from fleet.wire import limits
from tests.regressions import regression

REQUEST = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"


SEEN = []


async def application(scope, receive, send):
    """Answer with the length of the body."""
    SEEN.append(scope)
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = bytes(30_000_000) if scope["path"] == "/big" else str(length).encode()
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.02)


@asynccontextmanager
async def served(base=None):
    """Serve on loopback; yield the shared state and how to connect."""
    shared = DeviceConnections(PollCache(), Answers())
    kind = type("Kind", (base,), {"shared": shared}) if base else make_device_protocol(shared)
    config = uvicorn.Config(application, http=kind, log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()

    def protocol():
        return kind(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opened = []

    async def connect():
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    try:
        yield shared, connect
    finally:
        for _, writer in opened:
            writer.close()
        server.close()


async def told(reader):
    """Return everything until the server closes; nothing if it resets, as it does when something came unread."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        return b""


def test_a_request_is_answered_and_the_next_one_too():
    async def run():
        async with served() as (_, connect):
            reader, writer = await connect()
            for _ in range(2):
                writer.write(REQUEST[:10])
                await asyncio.sleep(0.01)
                writer.write(REQUEST[10:])
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(1) == b"0"

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [1, 50])
@pytest.mark.parametrize("kind", ["url", "fields", "many"])
def test_a_head_that_is_too_long_is_refused_before_it_is_all_kept(pieces, kind):
    filler = b"x" * (limits.MOST_HEAD + 1000)
    head = {
        "url": b"GET /" + filler + b" HTTP/1.1\r\n",
        "fields": b"GET / HTTP/1.1\r\nX: " + filler + b"\r\n",
        "many": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000,
    }[kind] + b"Content-Length: 3\r\n\r\nabc"

    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            size = -(-len(head) // pieces)
            for start in range(0, len(head), size):
                writer.write(head[start : start + size])
                await asyncio.sleep(0.002)
            assert (said := await told(reader)).startswith(b"HTTP/1.1 414" if kind == "url" else b"HTTP/1.1 431") or (
                pieces > 1 and not said
            )
            await asyncio.sleep(0.05)
            assert shared.count == 0

    asyncio.run(run())


def test_a_long_body_is_no_long_head():
    body = b"x" * 50_000

    async def run():
        async with served() as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"50000"

    asyncio.run(run())


@pytest.mark.parametrize("trailer", [b"A: b\r\n", b"x"])
def test_fields_behind_a_body_are_no_fields_and_do_not_go_on_for_ever(trailer):

    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
            writer.write(b"Client-Cert: " if trailer == b"x" else b"Client-Cert: :AA==:\r\n")
            for _ in range(200):
                writer.write(trailer * 5000)
                await asyncio.sleep(0.005)
                if reader.at_eof() or not shared.count:
                    break
            await asyncio.sleep(0.2)
            assert shared.count == 0
            assert not any(b"client-cert" in name for scope in SEEN for name, _ in scope["headers"])

    SEEN.clear()
    asyncio.run(run())


def test_a_body_in_small_chunks_is_whole():
    async def run():
        async with served() as (_, connect):
            reader, writer = await connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(2000):
                writer.write(b"10\r\n" + b"x" * 16 + b"\r\n")
            writer.write(b"0\r\nClient-Cert: x\r\n\r\n" + REQUEST[:8])  # and the next one begins in the same breath
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"32000"
            assert not any(name == b"client-cert" for scope in SEEN for name, _ in scope["headers"])
            writer.write(REQUEST[8:])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    SEEN.clear()
    asyncio.run(run())


def test_a_head_that_does_not_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(limits, "LINGER_SECONDS", 1.0)

    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            for byte in b"GET /v1/poll HTTP/1.1":
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.05)
            assert (await told(reader)).startswith(b"HTTP/1.1 408")
            await asyncio.sleep(1)
            assert shared.count == 0

    asyncio.run(run())


def test_empty_lines_keep_no_connection_open(monkeypatch):
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.3)

    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            for _ in range(20):
                writer.write(b"\r\n")
                await asyncio.sleep(0.05)
                if reader.at_eof():
                    break
            assert await told(reader) == b""
            await asyncio.sleep(0.05)
            assert shared.count == 0

    asyncio.run(run())


def test_whoever_asks_from_memory_and_does_not_read_is_cut_off():
    poll, key, made = b"GET /v1/poll HTTP/1.1\r\nHost: x\r\n\r\n", b"k" * 32, []

    class Known(connection.DeviceConnection):
        def connection_made(self, transport):
            super().connection_made(transport)
            self._key = key
            made.append(self)

    async def run():
        async with served(Known) as (shared, connect):
            shared.table.put((key, 1, 1, 0, int(time.time()) + 3600))
            shared.table.reached_by({"x": 1})
            reader, writer = await connect()
            writer.write(poll)
            assert b"no-store" in await reader.readuntil(b"\r\n\r\n")
            made[0].pause_writing()  # as the transport does when too much is unread
            writer.write(poll)
            assert b"no-store" not in await told(reader)
            await asyncio.sleep(0.05)
            assert shared.count == 0

    asyncio.run(run())


def test_a_reader_that_has_stalled_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.3)

    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            reader._transport.pause_reading()
            writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.1)
            assert shared.count == 1
            await asyncio.sleep(0.5)
            assert shared.count == 0

    asyncio.run(run())


def test_of_those_who_show_no_certificate_the_oldest_makes_room(monkeypatch):
    monkeypatch.setattr(limits, "MOST_UNNAMED", 3)

    async def run():
        async with served() as (shared, connect):
            lines = []
            for _ in range(5):
                lines.append(await connect())
                await asyncio.sleep(0.02)
            assert shared.count == 3
            for reader, _ in lines[:2]:
                assert await told(reader) == b""
            reader, writer = lines[4]
            writer.write(REQUEST)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    asyncio.run(run())


def test_a_listener_that_ends_lets_whoever_has_just_come_ask_and_no_more():
    made = []

    class Seen(connection.DeviceConnection):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.append(self)

    async def run():
        async with served(Seen) as (_, connect):
            reader, writer = await connect()
            await asyncio.sleep(0.02)
            made[0].shutdown()
            writer.write(REQUEST)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            made[0].shutdown()
            assert await told(reader) == b"0"

    asyncio.run(run())


def test_whoever_comes_to_a_full_listener_hears_when_to_come_again(monkeypatch):
    monkeypatch.setattr(limits, "MOST_OPEN", 2)

    async def run():
        async with served() as (shared, connect):
            await connect()
            await connect()
            await asyncio.sleep(0.02)
            reader, _ = await connect()
            said = await told(reader)
            assert said.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 30" in said
            assert shared.count == 2

    asyncio.run(run())


@regression("R2", "ended connections are freed at once and not by a collector, which would stop the listener")
@pytest.mark.parametrize("ending", ["answered", "within a head", "while answers wait"])
def test_an_ended_connection_is_freed_without_a_collector(ending):
    async def run():
        async with served() as (shared, connect):
            reader, writer = await connect()
            sent = {"answered": REQUEST * 3, "within a head": REQUEST[:20], "while answers wait": REQUEST * 8}
            writer.write(sent[ending])
            if ending == "answered":
                for _ in range(3):
                    await reader.readuntil(b"\r\n\r\n0")
            await asyncio.sleep(0.05)
            watched = [weakref.ref(one) for one in shared._open[""]]
            writer.close()
            await asyncio.sleep(0.1)
            SEEN.clear()
            return len(watched), [one() for one in watched if one() is not None]

    gc.collect()
    gc.disable()
    try:
        watched, left = asyncio.run(run())
    finally:
        gc.enable()
    assert (watched, left) == (1, [])
