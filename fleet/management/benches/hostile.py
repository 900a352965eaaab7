"""Poll latency while attackers hold ten thousand half-open connections at each listener, or send wrong tokens."""

import base64
import multiprocessing
import os
import resource
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fleet.management.benches import peers
from fleet.management.benches.ground import BenchSetUp, bench_installation, certificate_request
from fleet.management.benches.http import build_request, client_context
from fleet.management.benches.peers import Target
from fleet.management.benches.rows import BenchRow, bench_row, load_average

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

#: the fleet: 64 connections that poll every 20 ms. A connection that polls without a pause would see a stall of the
#: server only once, for any duration of the stall.
ENROLLED, POLLERS, PAUSE_MS, ROUNDS, SECONDS = 4, 64, 20, 3, 5.0
#: at each listener: some send nothing, some stop within a ClientHello or after it, some stop within a request
HALF, WITH_TLS, PATIENCE = 10_000, 1500, 300.0
#: interval in which each connection is checked and replaced: the longest time that a listener holds a half-open one
HELD_SECONDS = 10.0
TOKENS, ATTACKERS, AT_ONCE = 100_000, 4, 16
NETWORKS = 200
LISTENERS = {
    "FLEET_DEVICE_PORT": "device-door-1",
    "FLEET_OPERATOR_PORT": "operator-door",
    "FLEET_STATUS_PORT": "status-door",
    "FLEET_COAP_PORT": "coap-door",
}
BEGUN = b"GET /v1/poll HTTP/1.1\r\nHost: localhost\r\nX-Half: "
PATH = "/.well-known/est/simpleenroll"


class _AttackerCount(NamedTuple):
    """Results of one attacker.

    Args:
        listener: setting of the attacked port.
        done: half-open connections, or sent tokens.
        refused: tokens that were answered with status 429.
        seconds: time for sending the tokens.
    """

    listener: str
    done: int
    refused: int = 0
    seconds: float = 0.0


def run() -> list[BenchRow]:
    """Run all measurements; takes about four minutes."""
    peers.require_peers("cc")
    most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], HALF + 2000)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with bench_installation(FLEET_LOG_LEVEL="ERROR", FLEET_CONNECTIONS_A_DEVICE="1000") as installation:
        certs = installation.folder / "devices"
        certs.mkdir()
        peers.build_load_tools(installation.folder)
        given = installation.tokens(ENROLLED)
        installation.serve()
        for name, token in given:
            installation.enrol(name, token, certs)
        time.sleep(3)  # the poll cache is loaded
        return [*_half(installation, certs), *_wrong_tokens(installation, certs)]


def _half(installation: BenchSetUp, certs: Path) -> list[BenchRow]:
    quiet = _p99(installation, certs)
    before = {name: _resident(installation.pids()[name]) for name in LISTENERS.values()}
    with _attackers(
        [(_hold, (port, setting, str(installation.anchor))) for setting, port in _ports(installation).items()]
    ) as said:
        open_now = [said.get(timeout=PATIENCE) for _ in LISTENERS]
        loud = _p99(installation, certs)
        grown = {name: _resident(installation.pids()[name]) - size for name, size in before.items()}
    counts = {attacker.listener: attacker.done for attacker in open_now}
    each = {name: grown[name] / 1024 / max(1, counts[setting]) for setting, name in LISTENERS.items()}
    figures = ", ".join(f"{name} {each[name]:.1f} KiB each of {counts[key]}" for key, name in LISTENERS.items())
    detail = (
        f"{HALF} opened at each of {len(LISTENERS)} listeners from {NETWORKS} networks, {figures}; "
        f"without {quiet:.2f} ms, beside them {loud:.2f} ms; {load_average()}"
    )
    return [
        bench_row("poll p99 beside half connections at every listener", loud, "ms", 10, detail),
        bench_row("poll p99 beside half connections against without", loud / quiet, "ratio", 2, detail),
        bench_row("memory of a half connection, worst listener", max(each.values()), "KiB", 64, detail),
    ]


def _wrong_tokens(installation: BenchSetUp, certs: Path) -> list[BenchRow]:
    quiet = _p99(installation, certs)
    work = [(_guess, (installation.device_port, str(installation.anchor), index)) for index in range(ATTACKERS)]
    with _attackers(work) as said:
        loud = _p99(installation, certs)
        counted = [said.get(timeout=PATIENCE * 3) for _ in range(ATTACKERS)]
    sent, refused = sum(attacker.done for attacker in counted), sum(attacker.refused for attacker in counted)
    seconds = sum(attacker.seconds for attacker in counted)
    cheap = 100 * refused / max(1, sent)
    detail = (
        f"{sent} wrong enrolment tokens in {seconds / ATTACKERS:.0f} s from {ATTACKERS} networks, {cheap:.0f}% of the "
        f"answers were 429; without {quiet:.2f} ms, beside them {loud:.2f} ms; {load_average()}"
    )
    return [bench_row("poll p99 beside wrong tokens against without", loud / quiet, "ratio", 2, detail)]


def _p99(installation: BenchSetUp, certs: Path) -> float:
    target = Target(
        installation.device_port, "/v1/poll", str(installation.anchor), str(certs), POLLERS, SECONDS, PAUSE_MS
    )
    return statistics.median(float(peers.tlsload(installation.folder, target)["p99_ms"]) for _ in range(ROUNDS))


def _ports(installation: BenchSetUp) -> dict[str, int]:
    return {setting: installation.ports[setting] for setting in LISTENERS}


@contextmanager
def _attackers(
    work: Sequence[tuple[Callable[..., None], tuple[object, ...]]],
) -> Iterator["Queue[_AttackerCount]"]:
    """Run attackers beside the block, on the cores that the server does not use."""
    fork = multiprocessing.get_context("fork")
    said, end = fork.Queue(), fork.Event()
    processes = [fork.Process(target=_polite, args=(act, *arguments, said, end)) for act, arguments in work]
    for process in processes:
        process.start()
    try:
        yield said
    finally:
        end.set()
        for process in processes:
            process.join(30)
            if process.is_alive():
                process.kill()


def _polite(act: Callable[..., None], *arguments: object) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    act(*arguments)


def _hold(port: int, setting: str, anchor: str, said: "Queue[_AttackerCount]", end: "Event") -> None:
    """Hold half-open connections, report how many are open, and replace those that the server closes."""
    context = ssl.create_default_context(cafile=anchor)
    plain, hello = setting == "FLEET_STATUS_PORT", _hello(context)
    held: list[socket.socket | None] = [_half_open(port, index, context, hello, plain=plain) for index in range(HALF)]
    said.put(_AttackerCount(setting, sum(1 for sock in held if sock is not None and _stands(sock))))
    turn, each = 0, HALF // 1000
    while not end.wait(HELD_SECONDS / 1000):
        for index in range(turn, turn + each):
            one = held[index % HALF]
            if one is None or not _stands(one):
                held[index % HALF] = _half_open(port, index % HALF, context, hello, plain=plain)
        turn += each


def _half_open(port: int, index: int, context: ssl.SSLContext, hello: bytes, *, plain: bool) -> socket.socket | None:
    line = socket.socket()
    line.settimeout(3)
    try:
        line.bind((f"127.{1 + index % NETWORKS}.0.{1 + index // NETWORKS % 250}", 0))
        line.connect(("127.0.0.1", port))
        if plain:
            line.send(BEGUN + b"x" * 4000 if index % 3 else b"")
        elif index % (HALF // WITH_TLS) == 0:
            line = context.wrap_socket(line, server_hostname="localhost")
            line.send(BEGUN + b"x" * 4000)
        elif index % 3:
            line.send(hello[:7] if index % 3 == 1 else hello)
    except OSError:
        line.close()
        return None
    line.settimeout(0)
    return line


def _hello(context: ssl.SSLContext) -> bytes:
    """Return the first bytes from a TLS client."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def _stands(line: socket.socket) -> bool:
    try:
        return bool(line.recv(1))
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def _guess(port: int, anchor: str, index: int, said: "Queue[_AttackerCount]", end: "Event") -> None:
    """Send wrong tokens, several per connection without waiting for responses; report the number and the results."""
    context, session = client_context(Path(anchor)), None
    csr = base64.b64encode(certificate_request("guess")[0])
    sent, refused, begun = 0, 0, time.monotonic()
    while sent < TOKENS // ATTACKERS and time.monotonic() - begun < PATIENCE:
        batch = b"".join(
            build_request(
                "POST",
                PATH,
                csr,
                {"Authorization": f"Bearer met_{index}-{sent + number}", "Content-Type": "application/pkcs10"},
            )
            for number in range(AT_ONCE)
        )
        raw = socket.socket()
        raw.settimeout(5)
        with suppress(OSError), raw:
            raw.bind((f"127.{1 + index}.0.{1 + sent // AT_ONCE % 250}", 0))
            raw.connect(("127.0.0.1", port))
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as line:
                line.sendall(batch)
                came = line.recv(65536)
                session = line.session
                refused += came.startswith(b"HTTP/1.1 429") * AT_ONCE
        sent += AT_ONCE
    said.put(_AttackerCount("FLEET_DEVICE_PORT", sent, refused, time.monotonic() - begun))
    del end


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
