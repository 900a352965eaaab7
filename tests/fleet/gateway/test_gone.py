"""Whoever goes away before the answer is charged for it all the same, and appears in the access log."""

import asyncio
import logging
import ssl
import time
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from fleet.bounds import Bounded
from fleet.gateway.http import DeviceListener
from tests.peers.pki import self_signed
from tests.regressions import regression

REQUEST = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
FEW = 3


@pytest.fixture
def tls(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, "localhost"))
    return context


@asynccontextmanager
async def served(tls):
    """Serve the device gateway on loopback; yield it and how to connect."""
    listener, state = DeviceListener(), ServerState()
    kind = listener.protocol
    config = uvicorn.Config(listener, http=kind, lifespan="off", log_config=None, proxy_headers=False, access_log=False)
    config.load()
    factory = lambda: kind(config=config, server_state=state, app_state={})  # noqa: E731
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=tls)
    trusting = ssl.create_default_context() if tls else None
    if trusting:
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    async def connect():
        return await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trusting)

    try:
        yield listener, connect
    finally:
        server.close()
        for held in tuple(listener._connections._open.get("", ())):  # of which nothing is read for a while
            held.transport.abort()
        await asyncio.sleep(0.1)  # uvloop waits for ever for connections that nobody has closed
        listener._workers.close()


async def answered_now(connect):
    """Return the status of one more request."""
    reader, writer = await connect()
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    return int(head[9:12])


@regression("R10", "requests, also pipelined ones, of whoever goes away before the answer, over TLS and without")
@pytest.mark.parametrize("pipelined", [1, 2, 4])
@pytest.mark.parametrize("secure", [True, False])
def test_whoever_goes_away_is_charged_and_logged(secure, pipelined, tls, settings, caplog):
    settings.FLEET_STRANGERS_A_MINUTE = float(FEW)

    async def run():
        async with served(tls if secure else None) as (listener, connect):
            for _ in range(FEW):
                busy = [asyncio.create_task(listener._workers.run(lambda: time.sleep(0.2))) for _ in range(4)]
                _, writer = await connect()
                writer.write(REQUEST * pipelined)
                await asyncio.sleep(0.1)
                writer.transport.abort()
                await asyncio.gather(*busy)
            await asyncio.sleep(0.1)
            return await answered_now(connect)

    with caplog.at_level(logging.INFO):
        assert uvloop.run(run()) == 429
    lines = [one.status for one in caplog.records if one.name == "muster.access" and one.getMessage() == "answered"]
    assert lines == [404] * FEW + [429]
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_answers_to_pipelined_requests_come_in_order(tls, settings):
    async def run():
        async with served(tls) as (_, connect):
            reader, writer = await connect()
            writer.write(REQUEST * 3 + REQUEST.replace(b"POST /nothing", b"POST /healthz"))
            heads = []
            for _ in range(4):
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(int(head[9:12]))
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            writer.transport.abort()
            return heads

    assert uvloop.run(run()) == [404, 404, 404, 200]


@regression("R10", "requests at the operator server of whoever goes away before the answer")
def test_the_operator_server_charges_who_goes_away():
    async def never(_scope, receive, _send):
        while (await receive())["type"] != "http.disconnect":
            pass

    app, said = Bounded(never, 1, lambda *_: "", strangers=float(FEW)), []

    async def send(message):
        said.append(message)

    async def ask():
        messages = [{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0)

        scope = {"type": "http", "method": "POST", "path": "/sign-in", "headers": [], "client": ("192.0.2.1", 1)}
        await app(scope, receive, send)

    async def run():
        for _ in range(FEW + 1):
            await ask()

    asyncio.run(run())
    assert [one["status"] for one in said if "status" in one] == [429]
