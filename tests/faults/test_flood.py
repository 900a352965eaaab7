"""A flood of first hellos from everywhere costs the CoAP door an answer each and no memory; devices are served meanwhile."""

import json
import socket
from contextlib import suppress
from pathlib import Path

import cbor2
import pytest

from fleet.management.benches.doors_storm import hello
from tests.peers.test_coap import CLIENTS, Client

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("doors")]
HELLOS, MOST_GROWTH_KB = 4000, 8 * 1024


def resident_kb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def flood(port, many):
    """Send one hello each from many ports; return how many were answered with a cookie request."""
    datagram, answered = hello(), 0
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
        line.sendto(hello(), ("127.0.0.1", port))
        assert line.recv(2048)[13] == 3
