"""Cost of a poll over OSCORE for the server, and the number of sleeping devices that one core can serve."""

import json
import secrets
import socket
import time
from pathlib import Path

from aiocoap import Message
from aiocoap.numbers import codes, types

from fleet.agent.oscore import Context
from fleet.management.benches.ground import BenchSetUp
from fleet.management.benches.http import build_request, client_context, connect_tls, exchange_request
from fleet.management.benches.rows import BenchRow, bench_row, load_average

POLLS, WARM_UP, POLL_S, IDLE_SECONDS = 3000, 200, 6 * 3600, 5
COAP_SERVER = "coap-door"


def measure_sleepers(installation: BenchSetUp, device: Path) -> list[BenchRow]:
    """Measure the server's processor time for sequential polls, minus its idle processor time."""
    asked = build_request("POST", "/v1/oscore", b"{}", {"Content-Type": "application/json"})
    with connect_tls(client_context(installation.anchor, device), installation.device_port) as line:
        given = json.loads(exchange_request(line, asked))
    secret, salt, kid = (bytes.fromhex(given[name]) for name in ("ms", "salt", "client_id"))
    context = Context(secret, salt, kid)
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        line.settimeout(5)
        line.connect(("127.0.0.1", installation.ports["FLEET_OSCORE_PORT"]))
        sizes = [_poll(line, context) for _ in range(WARM_UP)][-1]
        before, started = installation.cpu(COAP_SERVER), time.monotonic()
        for _ in range(POLLS):
            _poll(line, context)
        used, took = installation.cpu(COAP_SERVER) - before, time.monotonic() - started
    before = installation.cpu(COAP_SERVER)
    time.sleep(IDLE_SECONDS)
    idle = (installation.cpu(COAP_SERVER) - before) / IDLE_SECONDS
    cost = (used - idle * took) / POLLS
    detail = f"{cost * 1e6:.0f} us a poll, {sizes[0]} and {sizes[1]} bytes, no handshake; {load_average()}"
    name = "devices a core, a poll in 6 hours over OSCORE"
    return [bench_row(name, (1 - idle) / cost * POLL_S, "devices", 1_000_000, detail, least=True)]


def _poll(line: socket.socket, context: Context) -> tuple[int, int]:
    """Poll once; return the lengths of request and response."""
    outer, request_id = context.protect(Message(code=codes.GET, uri_path=("v1", "poll")))
    outer.mtype, outer.mid, outer.token = types.CON, secrets.randbelow(1 << 16), b"t"
    asked = outer.encode()
    line.send(asked)
    raw = line.recv(2048)
    answer, _ = context.unprotect(Message.decode(raw), request_id)
    if answer.code != codes.CONTENT:
        msg = f"a poll over OSCORE was answered {answer.code} {answer.payload[:100]!r}"
        raise RuntimeError(msg)
    return len(asked), len(raw)
