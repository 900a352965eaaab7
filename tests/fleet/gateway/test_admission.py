"""The gate before TLS: silence holds nobody up, and whoever cannot be served in time is told at once."""

import asyncio
import socket
import ssl
import time

import pytest

from fleet.gateway import admission
from fleet.gateway.admission import Gate
from tests.peers.pki import self_signed


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture
def contexts(tmp_path):
    certificate, key = self_signed(tmp_path, "localhost")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate, key)
    theirs = ssl.create_default_context(cafile=certificate)
    theirs.check_hostname = False
    return ours, theirs


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=200) as made:
        yield made


def echoed(port, context):
    """Return what comes back over a new connection, and after how many seconds; runs in a thread."""
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as line,
    ):
        line.sendall(b"hello")
        return line.recv(100), time.monotonic() - started


def with_gate(listener, context, act):
    async def run():
        gate = Gate(listener, Echo, context)
        try:
            return await asyncio.to_thread(act, gate)
        finally:
            gate.close()
            await gate.wait_closed()

    return asyncio.run(run())


def test_silent_connections_hold_nobody_up(listener, contexts):
    ours, theirs = contexts
    port = listener.getsockname()[1]

    def act(_gate):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
        half = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for one in half:
            one.sendall(b"\x16\x03\x01")
        answer = echoed(port, theirs)
        for one in (*silent, *half):
            one.close()
        return answer

    data, took = with_gate(listener, ours, act)
    assert data == b"hello"
    assert took < 3


def test_whoever_cannot_be_served_in_time_is_told_at_once(listener, contexts, monkeypatch):
    ours, theirs = contexts
    monkeypatch.setattr(admission, "LEAST_QUEUED", 0)
    monkeypatch.setattr(admission, "FIRST_RATE", 0.0)

    def act(_gate):
        started = time.monotonic()
        with pytest.raises(OSError):
            echoed(listener.getsockname()[1], theirs)
        return time.monotonic() - started

    assert with_gate(listener, ours, act) < 1


def test_a_gate_that_retires_lets_those_inside_go_on(listener, contexts):
    ours, theirs = contexts

    def act(gate):
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as raw,
            theirs.wrap_socket(raw, server_hostname="localhost") as line,
        ):
            line.sendall(b"one")
            assert line.recv(10) == b"one"
            gate._loop.call_soon_threadsafe(gate.retire)
            line.sendall(b"two")
            return line.recv(10), gate.quiet

    assert with_gate(listener, ours, act) == (b"two", True)


def test_rubbish_instead_of_a_handshake_costs_a_place_for_a_moment_only(listener, contexts):
    ours, theirs = contexts
    port = listener.getsockname()[1]

    def act(gate):
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
                one.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answer = echoed(port, theirs)
        time.sleep(0.2)
        return answer[0], gate.quiet

    assert with_gate(listener, ours, act) == (b"hello", True)


def test_whoever_has_hung_up_meanwhile_costs_no_handshake(listener, contexts, monkeypatch):
    """It sent its hello, waited, and left by an ordinary farewell: its bytes still lie there."""
    ours, theirs = contexts
    monkeypatch.setattr(admission, "MOST_HANDSHAKES", 0)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = theirs.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    first = outgoing.read()

    def act(gate):
        with socket.create_connection(listener.getsockname(), timeout=5) as one:
            one.sendall(first)
            time.sleep(0.2)
            assert not gate.quiet, "it waits for its turn"
        time.sleep(0.1)
        monkeypatch.setattr(admission, "MOST_HANDSHAKES", 8)
        gate._loop.call_soon_threadsafe(gate._admit)
        time.sleep(0.3)
        return gate.quiet, gate._finished

    assert with_gate(listener, ours, act) == (True, 0)
