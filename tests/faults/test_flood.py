"""Peers that mean harm: floods of hellos, handshakes that are never finished, lines that are opened and never read."""

import json
import socket
import ssl
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import cbor2
import pytest
from OpenSSL import SSL

from fleet.gateway.coap import dtls, tcp
from fleet.management.benches.listeners_storm import first_hello
from tests.factories.story import identity
from tests.peers.test_coap import CLIENTS, Client

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
HELLOS, MOST_GROWTH_KB = 4000, 8 * 1024


def resident_kb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def flood(port, many):
    """Send one hello each from many ports; return how many were answered with a cookie request."""
    datagram, answered = first_hello(), 0
    for start in range(0, many, 200):
        sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(min(200, many - start))]
        for one in sockets:
            one.settimeout(2)
            one.sendto(datagram, ("127.0.0.1", port))
        for one in sockets:
            with suppress(TimeoutError):
                answer = one.recv(2048)
                answered += answer[13] == 3  # HelloVerifyRequest
                assert len(answer) < len(datagram)  # no amplification for who forges addresses
            one.close()
    return answered


def test_hellos_without_a_cookie_leave_nothing_behind(story, tmp_path):
    port = int(story.settings["FLEET_COAP_PORT"])
    pid = json.loads((story.folder / "run" / "serve.json").read_text())["pids"]["coap-door"]
    agent = story.agent("flood-device", tmp_path / "disk")
    client = Client(story, tmp_path, CLIENTS[0], agent)
    assert cbor2.loads(client.post("/v1/poll", {})[0])["next"] > 0
    flood(port, 500)
    before = resident_kb(pid)
    assert flood(port, HELLOS) > HELLOS * 0.95
    assert resident_kb(pid) - before < MOST_GROWTH_KB
    assert cbor2.loads(client.post("/v1/poll", {})[0])["next"] > 0


@pytest.mark.parametrize("junk", [b"", b"\x16", b"\x16" * 13, b"\x16\xfe\xff" + bytes(60), bytes(1400), b"\x17" * 100])
def test_junk_on_the_socket_is_passed_over(story, junk):
    port = int(story.settings["FLEET_COAP_PORT"])
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        line.settimeout(0.3)
        line.sendto(junk, ("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            line.recv(100)
        line.settimeout(3)
        line.sendto(first_hello(), ("127.0.0.1", port))
        assert line.recv(2048)[13] == 3


def begun(port):
    """Return a socket whose DTLS handshake has passed the cookie and stops there."""
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_options(1 << 12)
    line = SSL.Connection(context, None)
    line.set_connect_state()
    line.set_ciphertext_mtu(1200)
    one = socket.socket(type=socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", port))
    one.settimeout(2)
    for _ in range(2):
        with suppress(SSL.WantReadError):
            line.do_handshake()
        one.send(line.bio_read(65536))
        with suppress(TimeoutError):
            line.bio_write(one.recv(65536))
    return one


def test_handshakes_that_are_never_finished_lock_nobody_out(story, tmp_path):
    port = int(story.settings["FLEET_COAP_PORT"])
    agent = story.agent("patient-device", tmp_path / "disk")
    client = Client(story, tmp_path, CLIENTS[0], agent)
    with ExitStack() as held:
        for _ in range(dtls.MOST_HANDSHAKES + 50):
            held.enter_context(begun(port))
        assert cbor2.loads(client.post("/v1/poll", {})[0])["next"] > 0


def test_failed_handshakes_over_tcp_take_no_places(story, tmp_path):
    port = int(story.settings["FLEET_COAP_PORT"])
    pid = json.loads((story.folder / "run" / "serve.json").read_text())["pids"]["coap-door"]
    nobody = ssl.create_default_context(cafile=story.anchor)
    nobody.maximum_version = ssl.TLSVersion.TLSv1_2

    def fail(many):
        for _ in range(many):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
                nobody.wrap_socket(raw, server_hostname="localhost").close()

    fail(100)
    before = resident_kb(pid)
    fail(1000)
    assert resident_kb(pid) - before < MOST_GROWTH_KB / 2
    agent = story.agent("tcp-device", tmp_path / "disk")
    client = Client(story, tmp_path, CLIENTS[0], agent, "coaps+tcp")
    assert cbor2.loads(client.post("/v1/poll", {})[0])["next"] > 0


def lines_of(story, agent, port, alpn=()):
    context = ssl.create_default_context(cafile=story.anchor)
    context.load_cert_chain(*identity(agent))
    context.set_alpn_protocols(list(alpn))
    while True:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        yield context.wrap_socket(raw, server_hostname="localhost")


def closed(line):
    """Say whether the server has closed a line; what it had sent before is read away."""
    line.settimeout(0.2)
    with suppress(TimeoutError):
        try:
            while line.recv(4096):
                pass
        except (ConnectionError, ssl.SSLError):
            return True
        return True
    return False


@pytest.mark.parametrize(
    ("port", "most", "alpn"), [("FLEET_DEVICE_PORT", 32, ()), ("FLEET_COAP_PORT", tcp.MOST_OF_ONE, ("coap",))]
)
def test_of_one_certificate_the_oldest_line_makes_room(story, tmp_path, port, most, alpn):
    agent = story.agent(f"greedy-{most}", tmp_path / "disk")
    made = lines_of(story, agent, int(story.settings[port]), alpn)
    # Two workers share the listener by HTTPS: each counts its own.
    workers = 2 if port == "FLEET_DEVICE_PORT" else 1
    with ExitStack() as held:
        lines = [held.enter_context(next(made)) for _ in range(2 * workers * most)]
        time.sleep(0.5)
        assert sum(not closed(one) for one in lines) <= most * workers
        assert not closed(lines[-1])
