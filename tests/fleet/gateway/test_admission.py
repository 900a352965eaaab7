"""The gate before TLS: silence holds nobody up, and whoever cannot be served in time is told at once."""

import asyncio
import socket
import ssl
import time

import pytest

from fleet.gateway import admission
from fleet.gateway.admission import AdmissionGate
from fleet.wire import proven_networks
from tests.peers.pki import self_signed
from tests.regressions import regression


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


def hello_of(context):
    """Return the first bytes that a TLS client sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def calls_from(address, listener):
    """Return a connection from an address of this machine."""
    return socket.create_connection(listener.getsockname(), timeout=5, source_address=(address, 0))


def with_gate(listener, context, act):
    async def run():
        gate = AdmissionGate(listener, Echo, context)
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
    first = hello_of(theirs)

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


@regression("R2", "half a ClientHello takes no place among the handshakes, however many there are")
def test_half_a_hello_takes_no_place(listener, contexts, monkeypatch):
    ours, theirs = contexts
    monkeypatch.setattr(admission, "MOST_HANDSHAKES", 4)
    monkeypatch.setattr(admission, "LEAST_QUEUED", 8)
    monkeypatch.setattr(admission, "FIRST_RATE", 1.0)
    first = hello_of(theirs)

    def act(gate):
        half = [calls_from(f"127.{place}.0.1", listener) for place in range(1, 60)]
        for place, one in enumerate(half):
            one.sendall(first[: (1, 5, 7, len(first) - 1)[place % 4]])
        time.sleep(0.3)
        quiet, answer = gate.quiet, echoed(listener.getsockname()[1], theirs)
        for one in half:
            one.close()
        return quiet, answer

    quiet, (data, took) = with_gate(listener, ours, act)
    assert quiet, "none of them waits for a handshake"
    assert data == b"hello"
    assert took < 3


@regression("R2", "a hello that comes in pieces is served as one that comes whole")
def test_a_hello_in_pieces_is_served(listener, contexts):
    ours, theirs = contexts

    def act(_gate):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = theirs.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with calls_from("127.0.0.1", listener) as line:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        line.sendall(bytes([byte]))
                        time.sleep(0.0005)
                    incoming.write(line.recv(65536))
            line.sendall(outgoing.read())
            client.write(b"hello")
            line.sendall(outgoing.read())
            return client.version()

    assert with_gate(listener, ours, act).startswith("TLS")


@regression("R2", "many stalled handshakes from a few networks do not lock others out")
def test_networks_take_turns(listener, contexts, monkeypatch):
    ours, theirs = contexts
    monkeypatch.setattr(admission, "MOST_HANDSHAKES", 4)
    monkeypatch.setattr(admission, "LEAST_QUEUED", 40)
    monkeypatch.setattr(admission, "FIRST_RATE", 1.0)
    monkeypatch.setattr(admission, "PLACE_SECONDS", 0.2)
    first = hello_of(theirs)

    def act(_gate):
        stalled = [calls_from(f"127.{1 + place % 3}.0.1", listener) for place in range(120)]
        for one in stalled:
            one.sendall(first)
        time.sleep(0.1)
        answer = echoed(listener.getsockname()[1], theirs)
        for one in stalled:
            one.close()
        return answer

    data, took = with_gate(listener, ours, act)
    assert data == b"hello"
    assert took < 2, "it waited for all of them"


@regression("R2", "a fleet behind one address is served while many networks stall their handshakes")
def test_a_fleet_behind_one_address_is_not_delayed_by_many_networks(listener, contexts, monkeypatch):
    ours, theirs = contexts
    monkeypatch.setattr(admission, "MOST_HANDSHAKES", 4)
    monkeypatch.setattr(admission, "LEAST_QUEUED", 200)
    monkeypatch.setattr(admission, "PLACE_SECONDS", 0.2)
    first, port = hello_of(theirs), listener.getsockname()[1]

    def act(_gate):
        echoed(port, theirs)  # a device of the fleet has been here before
        stalled = [calls_from(f"127.{place}.0.1", listener) for place in range(1, 151)]
        for one in stalled:
            one.sendall(first)
        time.sleep(0.1)
        answers = [echoed(port, theirs) for _ in range(3)]
        for one in stalled:
            one.close()
        return answers

    for data, took in with_gate(listener, ours, act):
        assert data == b"hello"
        assert took < 3, "it waited for its turn among 150 networks"


@pytest.mark.parametrize(("needed", "proves"), [(ssl.CERT_NONE, True), (ssl.CERT_OPTIONAL, False)])
def test_where_certificates_are_asked_for_a_network_proves_itself_by_one(listener, contexts, needed, proves):
    ours, theirs = contexts
    ours.verify_mode = needed

    def act(gate):
        echoed(listener.getsockname()[1], theirs)
        return admission.network_of("127.0.0.1") in gate._proven

    assert with_gate(listener, ours, act) is proves


def test_proven_networks_are_bounded_and_forgotten(monkeypatch):
    monkeypatch.setattr(proven_networks, "MOST_PROVEN", 3)
    known = proven_networks.ProvenNetworks()
    for name in ("a", "b", "c", "a", "d"):
        known.add(name)
    assert [name for name in "abcd" if name in known] == ["a", "c", "d"]
    monkeypatch.setattr(proven_networks, "PROVEN_SECONDS", -1.0)
    known.add("c")
    assert "c" not in known


class Farewell(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _data):
        self.transport.close()


def test_a_client_that_never_says_goodbye_is_not_waited_for(listener, contexts, monkeypatch):
    monkeypatch.setattr("tests.fleet.gateway.test_admission.Echo", Farewell)
    ours, theirs = contexts

    def act(_gate):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = theirs.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with calls_from("127.0.0.1", listener) as line:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    line.sendall(outgoing.read())
                    incoming.write(line.recv(65536))
            client.write(b"hello")
            line.sendall(outgoing.read())
            line.settimeout(15)  # uvloop's own patience is 30 seconds
            while line.recv(65536):
                pass
            return True

    assert with_gate(listener, ours, act)
