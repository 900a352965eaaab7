"""Stress: thousands of idle connections, and twenty thousand devices that connect at the same time."""

import json
import multiprocessing
import resource
import select
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from OpenSSL import SSL

from fleet.management.benches import peers
from fleet.management.benches.ground import BenchSetUp
from fleet.management.benches.http import client_context, connect_tls
from fleet.management.benches.peers import Target
from fleet.management.benches.rows import BenchRow, bench_row, load_average

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

GATEWAY = "device-door-1"
IDLE, SILENT = 5000, 40
HELLOS, WARM_UP, AT_ONCE, HELLO_VERIFY = 100_000, 2000, 200, 3
DEVICES, CALM, CALM_DEVICES, TIMEOUT = 20_000, 64, 3000, 10


class _Arrival(TypedDict):
    """Results of ``tlsstorm``, and ``cpu``, the server's processor seconds meanwhile."""

    rps: float
    rps90: float
    seconds90: float
    seconds: float
    answered: int
    repeated: int
    cpu: float


def measure_held(installation: BenchSetUp, certs: Path) -> list[BenchRow]:
    """Measure a poll's p99 beside idle TLS connections and silent TCP connections."""
    device = min(certs.glob("*.pem"))
    fork = multiprocessing.get_context("fork")
    ready, end, counted = fork.Event(), fork.Event(), fork.Queue()
    holder = fork.Process(
        target=_hold, args=(str(installation.anchor), installation.device_port, str(device), (ready, end, counted))
    )
    holder.start()
    if not ready.wait(240):
        msg = "the idle connections could not be opened"
        raise RuntimeError(msg)
    said = peers.tlsload(
        installation.folder,
        Target(installation.device_port, "/v1/poll", str(installation.anchor), str(certs), connections=4, seconds=5),
    )
    end.set()
    idle, silent = counted.get(timeout=60)
    holder.join(60)
    if idle < IDLE or silent < SILENT:
        msg = f"only {idle} idle and {silent} silent connections stayed open"
        raise RuntimeError(msg)
    others = f"4 others polled {said['rps']:.0f}/s"
    detail = f"{IDLE} idle mTLS connections and {SILENT} silent TCP ones held; {others}; {load_average()}"
    return [bench_row("poll p99 beside idle and silent connections", said["p99_ms"], "ms", 50, detail)]


def measure_storm(installation: BenchSetUp, certs: Path) -> list[BenchRow]:
    """Compare responses per second for simultaneous devices with those for sequential devices."""
    calm = _come(installation, certs, CALM_DEVICES, CALM)
    all_at_once = _come(installation, certs, DEVICES, DEVICES)
    # By the clock and by the server's processor time: all clients share one core, and a failed hello costs them much.
    ours, at_best = (arrival["answered"] / arrival["cpu"] for arrival in (all_at_once, calm))
    detail = (
        f"{DEVICES} devices at once, full handshakes, patience {TIMEOUT} s: {all_at_once['rps90']:.0f} answers/s until "
        f"nine tenths had theirs after {all_at_once['seconds90']:.0f} s, all after {all_at_once['seconds']:.0f} s, "
        f"{all_at_once['repeated']} came again; in turn ({CALM} at once) {calm['rps90']:.0f}/s; by the server's CPU "
        f"{ours:.0f} against {at_best:.0f} answers a second of it; {load_average()}"
    )
    served = all_at_once["answered"] == DEVICES
    by_cpu = ours / at_best if served else 0.0
    by_clock = all_at_once["rps90"] / calm["rps90"] if served else 0.0
    return [
        bench_row("handshake goodput in a storm, by the server's CPU", by_cpu, "ratio", 0.8, detail, least=True),
        bench_row(
            "handshake goodput in a storm, by the clock",
            by_clock,
            "ratio",
            0.8,
            "see above; all devices share one core of their own",
            least=True,
        ),
    ]


def measure_flood(installation: BenchSetUp) -> list[BenchRow]:
    """Measure the CoAP listener's memory growth under first hellos, without cookie, from many addresses and ports."""
    port, pid, datagram = installation.ports["FLEET_COAP_PORT"], installation.pids()["coap-door"], first_hello()
    _hellos(port, datagram, 0, WARM_UP)
    before = _resident(pid)
    answered = _hellos(port, datagram, WARM_UP, HELLOS)
    grown = (_resident(pid) - before) / 1e6
    if answered < HELLOS * 0.99:
        msg = f"only {answered} of {HELLOS} hellos were answered"
        raise RuntimeError(msg)
    detail = f"{HELLOS} hellos from distinct (address, port) pairs, {answered} got a cookie request; {load_average()}"
    return [bench_row("growth of the CoAP listener under a flood of hellos", grown, "MB", 8, detail)]


def _hellos(port: int, datagram: bytes, first: int, many: int) -> int:
    """Send one hello each from many addresses; return the number of responses."""
    answered = 0
    for start in range(first, first + many, AT_ONCE):
        sockets = []
        for number in range(start, min(start + AT_ONCE, first + many)):
            client = socket.socket(type=socket.SOCK_DGRAM)
            client.bind((f"127.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255 or 1}", 0))
            client.settimeout(1)
            client.sendto(datagram, ("127.0.0.1", port))
            sockets.append(client)
        for client in sockets:
            with suppress(TimeoutError):
                answered += client.recv(2048)[13] == HELLO_VERIFY
            client.close()
    return answered


def first_hello() -> bytes:
    """Return the first datagram of a DTLS client."""
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with suppress(SSL.WantReadError):
        connection.do_handshake()
    return bytes(connection.bio_read(4096))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _come(installation: BenchSetUp, certs: Path, devices: int, at_once: int) -> _Arrival:
    device = min(certs.glob("*.pem"))
    arguments = [
        str(installation.device_port),
        "/v1/poll",
        str(devices),
        str(at_once),
        str(TIMEOUT),
        str(installation.anchor),
    ]
    identity = [str(device), str(device.with_suffix(".key"))]
    before = installation.cpu(GATEWAY)
    done = subprocess.run(
        [installation.folder / "tlsstorm", *arguments, *identity], capture_output=True, text=True, check=False
    )
    figures: _Arrival = json.loads(done.stdout)
    return {**figures, "cpu": installation.cpu(GATEWAY) - before}


def _stands(line: socket.socket) -> bool:
    """Return whether the peer has kept a connection open; session tickets may be unread."""
    poll = select.poll()
    poll.register(line.fileno(), select.POLLRDHUP | select.POLLHUP)
    return not poll.poll(0)


def _hold(anchor: str, port: int, device: str, signals: "tuple[Event, Event, Queue[tuple[int, int]]]") -> None:
    """Open the connections and hold them until signalled; report how many stayed open."""
    ready, end, counted = signals
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = client_context(Path(anchor), Path(device))
    held = [connect_tls(context, port) for _ in range(IDLE)]
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(SILENT)]  # the listener waits ten seconds
    ready.set()
    end.wait(120)
    counted.put((sum(map(_stands, held)), sum(map(_stands, silent))))
    for sock in [*held, *silent]:
        with suppress(OSError):
            sock.close()
