"""One set of limits on every listener that speaks HTTP: heads, lines, fields, chunks, versions, deadlines, crowds."""

import asyncio
import os
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from fleet.gateway.http import DeviceListener
from fleet.gateway.status import StatusListener
from fleet.management.serving.listeners import protocol_of
from fleet.wire import limits
from tests.regressions import regression


def operator():
    from fleet.asgi import application  # needs the folder of static files that a fixture has made

    return application


LISTENERS = {"operator": operator, "device": DeviceListener, "status": StatusListener}
GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Django's temporary file of a request that a test leaves open is closed by the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ON_EACH = pytest.mark.parametrize("listener", LISTENERS)


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.02)


@asynccontextmanager
async def served(listener):
    """Serve a listener's own application on loopback; yield its connections and how to connect."""
    app = LISTENERS[listener]()
    kind = protocol_of(app)
    config = uvicorn.Config(app, http=kind, log_config=None, proxy_headers=False, access_log=False)
    config.load()
    state, made = ServerState(), []
    factory = lambda: kind(config=config, server_state=state, app_state={})  # noqa: E731
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)

    async def connect():
        made.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
        return made[-1]

    try:
        yield kind.shared, connect
    finally:
        for _, writer in made:
            writer.close()
        server.close()


async def said(reader, seconds=5):
    """Return all that comes until the other side closes; nothing if it resets."""
    try:
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionError:
        return b""


def answers_of(listener, *pieces, pause=0.0):
    """Send pieces on one connection; return the answers that came, and how many connections are left."""

    async def run():
        async with served(listener) as (shared, connect):
            reader, writer = await connect()
            for one in pieces:
                if b"connection: close" in bytes(reader._buffer).lower() or reader.at_eof():  # the last answer
                    break
                writer.write(one)
                await asyncio.sleep(pause)
            came = await said(reader)
            for _ in range(50):
                if not shared.count:
                    break
                await asyncio.sleep(0.01)
            return came, shared.count

    return asyncio.run(run())


def status_of(listener, *pieces, pause=0.0):
    came, _ = answers_of(listener, *pieces, pause=pause)
    assert came.startswith(b"HTTP/1.1 "), came
    return int(came[9:12])


def head(first, *fields):
    return b"\r\n".join([first, *fields]) + b"\r\n\r\n"


GET, HOST = b"GET /healthz HTTP/1.1", b"Host: localhost"
POST = b"POST /healthz HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
LONG = b"x" * (limits.MOST_HEAD + 1)
REFUSED = {
    "a long request line": (414, [b"GET /" + LONG]),
    "a field without end": (431, [GET + b"\r\nX: " + LONG]),
    "a name without end": (431, [GET + b"\r\n" + LONG]),
    "many fields": (431, [head(GET, HOST, *[b"A: b"] * limits.MOST_FIELDS)]),
    "many short fields without end": (431, [GET + b"\r\n" + b"A: b\r\n" * 4000]),
    "HTTP/0.9": (505, [b"GET /healthz\r\n"]),
    "HTTP/0.9 with its name": (505, [head(b"GET /healthz HTTP/0.9")]),
    "HTTP/2.0": (505, [head(b"GET /healthz HTTP/2.0", HOST)]),
    "HTTP/1.7": (400, [head(b"GET /healthz HTTP/1.7", HOST)]),
    "no Host": (400, [head(GET)]),
    "two Hosts": (400, [head(GET, HOST, HOST)]),
    "a Host that is no name": (400, [head(GET, b"Host: a b/c@d")]),
    "a fold": (400, [head(GET, HOST, b"X: a", b" b")]),
    "a bare line feed": (400, [b"GET /healthz HTTP/1.1\nHost: localhost\n\n"]),
    "a space before the colon": (400, [head(GET, b"Host : localhost")]),
    "a NUL in a field": (400, [head(GET, HOST, b"X: a\0b")]),
    "two lengths": (400, [head(POST, HOST, b"Content-Length: 1", b"Content-Length: 1") + b"a"]),
    "a list of lengths": (400, [head(POST, HOST, b"Content-Length: 1, 1") + b"a"]),
    "a signed length": (400, [head(POST, HOST, b"Content-Length: +1") + b"a"]),
    "a length and chunks": (400, [head(POST, HOST, CHUNKED, b"Content-Length: 1") + b"1\r\na\r\n0\r\n\r\n"]),
    "compressed chunks": (501, [head(POST, HOST, b"Transfer-Encoding: gzip, chunked") + b"1\r\na\r\n0\r\n\r\n"]),
    "an identity coding": (400, [head(POST, HOST, b"Transfer-Encoding: identity") + b"a"]),
    "chunks of HTTP/1.0": (400, [head(b"POST /healthz HTTP/1.0", HOST, CHUNKED) + b"1\r\na\r\n0\r\n\r\n"]),
    "a chunk size in another notation": (400, [head(POST, HOST, CHUNKED) + b"0x1\r\na\r\n0\r\n\r\n"]),
    "a chunk longer than its size": (400, [head(POST, HOST, CHUNKED) + b"1\r\nabc\r\n0\r\n\r\n"]),
    "a chunk size beyond 64 bits": (400, [head(POST, HOST, CHUNKED) + b"f" * 17 + b"\r\na"]),
    "another expectation": (417, [head(POST, HOST, b"Expect: a-miracle", b"Content-Length: 1")]),
    "CONNECT": (501, [head(b"CONNECT localhost:80 HTTP/1.1", HOST)]),
    "TRACE": (501, [head(b"TRACE /healthz HTTP/1.1", HOST)]),
    "an unknown method": (400, [head(b"FOO /healthz HTTP/1.1", HOST)]),
    "a target without a slash": (400, [head(b"GET healthz HTTP/1.1", HOST)]),
    "a fragment in the target": (400, [head(b"GET /healthz#x HTTP/1.1", HOST)]),
    "an absolute target without a host": (400, [head(b"GET http:///healthz HTTP/1.1", HOST)]),
    "a query with many fields": (400, [head(b"GET /healthz?" + b"&".join([b"a=1"] * 21) + b" HTTP/1.1", HOST)]),
    "no HTTP at all": (400, [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"]),
}


@regression("R2", "header fields, names, lines and numbers of fields without end, on every listener")
@regression("B8", "HTTP/1.1 without or with two Hosts, folds, bare line feeds, codings, targets and expectations")
@regression("R15", "HTTP/0.9 and versions that nobody speaks")
@regression("B4", "more query fields than any request needs, before any handler looks at them")
@pytest.mark.parametrize("kind", REFUSED)
@ON_EACH
def test_a_request_that_breaks_http_is_refused_with_its_status(listener, kind):
    status, pieces = REFUSED[kind]
    came, left = answers_of(listener, *pieces)
    assert came.startswith(b"HTTP/1.1 %d " % status), came[:200]
    assert b"connection: close" in came.lower()
    assert came.count(b"HTTP/1.1 %d " % status) == 1
    assert left == 0


@regression("R2", "a head in small pieces whose field never ends")
@ON_EACH
def test_a_field_in_pieces_is_refused_long_before_it_fills_memory(listener, monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.3)
    pieces = [GET + b"\r\nX: ", *[b"x" * 1000] * 40]
    came, left = answers_of(listener, *pieces, pause=0.001)
    assert came.startswith(b"HTTP/1.1 431")
    assert left == 0


@regression("R2", "chunk extensions, leading zeros of chunk sizes, and trailers without end")
@pytest.mark.parametrize("filler", [b"1;" + b"x" * 1000, b"0" * 1000, b"1\r\na\r\n0\r\nT: " + b"x" * 1000])
@ON_EACH
def test_what_stands_between_the_chunks_has_an_end(listener, filler, monkeypatch):
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.3)
    pieces = [head(POST, HOST, CHUNKED) + filler, *[filler[-500:]] * 80]
    came, left = answers_of(listener, *pieces, pause=0.001)
    # Some applications answer before the body is whole; nobody reads on without end.
    assert came.startswith(b"HTTP/1.1 "), came[:100]
    assert left == 0


END = b"Connection: close"
ACCEPTED = {
    "as it is": head(GET, HOST, END),
    "an address and a port": head(GET, b"Host: [::1]:8443", END),
    "an absolute target": head(b"GET https://localhost/healthz HTTP/1.1", b"Host: other", END),
    "HTTP/1.0 without a Host": head(b"GET /healthz HTTP/1.0"),
    "empty lines before it": b"\r\n\r\n" + head(GET, HOST, END),
    "many query fields": head(b"GET /healthz?" + b"&".join([b"a=1"] * 20) + b" HTTP/1.1", HOST, END),
    "many ampersands in a path": head(b"GET /healthz" + b"&" * 60 + b" HTTP/1.1", HOST, END),
    "a good expectation": head(POST, HOST, END, b"Expect: 100-Continue", b"Content-Length: 1") + b"a",
    "an upgrade to what is not spoken": head(GET, HOST, b"Connection: Upgrade", b"Upgrade: h2c"),
    "options of the server": head(b"OPTIONS * HTTP/1.1", HOST, END),
}


@regression("B8", "absolute targets, OPTIONS *, upgrades, HTTP/1.0 and expectations that are fine")
@pytest.mark.parametrize("kind", ACCEPTED)
@ON_EACH
def test_what_the_rfcs_allow_is_answered(listener, kind):
    came, left = answers_of(listener, ACCEPTED[kind])
    assert re.match(rb"(HTTP/1.1 100 Continue\r\n\r\n)?HTTP/1.1 (20|30|40[045])", came), came[:200]
    assert b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain" not in came, came[:300]
    assert left == 0


@regression("R15", "HTTP/1.0 clients know no chunks")
@ON_EACH
def test_http_1_0_gets_no_chunks_and_a_closed_connection(listener):
    came, left = answers_of(listener, head(b"GET /healthz HTTP/1.0", HOST, b"Connection: keep-alive"))
    assert b"transfer-encoding" not in came.lower()
    assert b"connection: close" in came.lower()
    assert left == 0


@regression("R2", "half heads, heads byte by byte, and connections that say nothing")
@pytest.mark.parametrize("sent", [b"GET /healthz HTTP/1.1\r\nHost: x", b"", b"\r\n"])
@ON_EACH
def test_half_a_head_and_silence_end_at_a_deadline(listener, sent, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.2)

    async def run():
        async with served(listener) as (shared, connect):
            reader, writer = await connect()
            begun = time.monotonic()
            while time.monotonic() - begun < 3 and not reader.at_eof():
                writer.write(sent[:1] or b"")
                sent_rest = sent[1:]
                writer.write(sent_rest)
                await asyncio.sleep(0.05)
                if b"GET" in sent:
                    break
            came = await said(reader)
            await asyncio.sleep(0.05)
            return came, shared.count

    came, left = asyncio.run(run())
    assert came.startswith(b"HTTP/1.1 408") if b"GET" in sent else came == b""
    assert left == 0


@regression("R2", "connections of one network, and of everybody who shows no certificate")
@ON_EACH
def test_who_only_waits_makes_room_and_who_was_answered_stays(listener, monkeypatch):
    monkeypatch.setattr(limits, "MOST_OF_NETWORK", 5)

    async def run():
        async with served(listener) as (shared, connect):
            reader, writer = await connect()
            writer.write(GOOD)
            await reader.readuntil(b"\r\n\r\n")
            half = [await connect() for _ in range(12)]
            for _, one in half:
                one.write(GOOD[:20])
            await asyncio.sleep(0.05)
            held = shared.count
            writer.write(GOOD)
            again = await reader.read(200)
            return held, again

    held, again = asyncio.run(run())
    assert held == 5
    assert again


@regression("R2", "thousands of small requests in one piece, before the first is answered")
@ON_EACH
def test_requests_that_wait_on_one_connection_are_few(listener):
    came, left = answers_of(listener, GOOD * 400)
    assert came.count(b"HTTP/1.1 ") <= limits.MOST_PIPELINED + 1
    assert left == 0


@regression("R2", "memory of half heads on every listener")
@ON_EACH
def test_half_a_head_takes_little_memory(listener):
    many, half = 300, GET + b"\r\nX: " + b"x" * 15_000

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def run():
        async with served(listener) as (shared, connect):
            for _ in range(30):
                (await connect())[1].write(half)
            await asyncio.sleep(0.1)
            before = resident()
            for _ in range(many):
                (await connect())[1].write(half)
            await asyncio.sleep(0.3)
            assert shared.count == many + 30
            return (resident() - before) / many

    assert asyncio.run(run()) < 64 * 1024, "both ends of each connection are in this process"
