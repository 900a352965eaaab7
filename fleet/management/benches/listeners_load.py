"""Poll latency while the server is busy, and the maximum rate of telemetry."""

import json
import multiprocessing
import subprocess
import time
from pathlib import Path

import cbor2

from fleet.management.benches import peers
from fleet.management.benches.ground import BenchSetUp, start_inner
from fleet.management.benches.http import build_request, client_context, connect_tls, exchange_request
from fleet.management.benches.listeners_inner import StoredValues
from fleet.management.benches.peers import Target
from fleet.management.benches.rows import BenchRow, bench_row, load_average

BUSY_SECONDS = 14
KINDS = ("drift", "lists", "compression")
INGEST_SECONDS = 8
CLIENTS, SERIES, VALUES = 4, 10, 100
NAMES = ("temp_c", "bytes_in", "bytes_out", "packets_in", "packets_out", "heap_free_b", "battery_share",
         "confidence_mean", "established_peers", "listening_ports")  # fmt: skip


def measure_busy(installation: BenchSetUp, certs: Path) -> list[BenchRow]:
    """Measure a poll's p99 while drift detection, CRLs, compression and ingestion all run on the server's core."""
    with installation.on_servers_core():
        working = {kind: start_inner(installation, "busy", kind, str(BUSY_SECONDS)) for kind in KINDS}
    for kind, work in working.items():
        if _line(work) != "ready":
            msg = f"{kind} did not start; see the output above"
            raise RuntimeError(msg)
    for work in working.values():
        if work.stdin is not None:
            work.stdin.write("go\n")
            work.stdin.flush()
    posting = multiprocessing.get_context("fork").Process(
        target=_post,
        args=(
            str(installation.anchor),
            installation.device_port,
            str(sorted(certs.glob("*.pem"))[1]),
            BUSY_SECONDS,
            0.05,
        ),
    )
    posting.start()
    poll = Target(
        installation.device_port,
        "/v1/poll",
        str(installation.anchor),
        str(certs),
        connections=8,
        seconds=BUSY_SECONDS - 4,
    )
    said = peers.tlsload(installation.folder, poll)
    posting.join()
    done = {kind: _done(kind, work) for kind, work in working.items()}
    detail = (
        f"8 connections, {said['rps']:.0f}/s; all at once on the same core, meanwhile: {done['drift']} drift ticks of "
        f"the fleet, all revocation lists {done['lists']} times, {done['compression']} x 8 MB compressed, "
        f"20 batches a second; {load_average()}"
    )
    return [bench_row("poll p99 while the server works", said["p99_ms"], "ms", 50, detail)]


def _done(kind: str, work: subprocess.Popen[str]) -> int:
    said = _line(work)
    if work.wait(120) or not said.isdigit():
        msg = f"{kind} failed; see the output above"
        raise RuntimeError(msg)
    return int(said)


def _line(work: subprocess.Popen[str]) -> str:
    return work.stdout.readline().strip() if work.stdout is not None else ""


def measure_ingest(installation: BenchSetUp, certs: Path, goal: float, database: str) -> list[BenchRow]:
    """Measure metric values per second, stored and readable by query."""
    devices = sorted(certs.glob("*.pem"))[:CLIENTS]
    names = [device.stem for device in devices]
    before = _stored(installation, names)
    fork = multiprocessing.get_context("fork")
    arguments = [
        (str(installation.anchor), installation.device_port, str(device), INGEST_SECONDS, 0.0) for device in devices
    ]
    processes = [fork.Process(target=_post, args=argument) for argument in arguments]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    took = time.perf_counter() - started
    after = _stored(installation, names)
    rate = (after["values"] - before["values"]) / took
    detail = (
        f"{database}, {CLIENTS} mTLS clients, {SERIES * VALUES} values a batch, one process; "
        f"{after['read']} of one metric read back by query; {load_average()}"
    )
    return [bench_row(f"metric values stored, {database}", rate, "1/s", goal, detail, least=True)]


def _post(anchor: str, port: int, device: str, seconds: float, pause: float) -> None:
    """Post batches of a thousand values as one device until the end time."""
    path = Path(device)
    context = client_context(Path(anchor), path)
    headers = {"Content-Type": "application/cbor"}
    until, sequence = time.monotonic() + seconds, int(time.time() * 1000)
    values = [20.0 + number / 7 for number in range(VALUES)]
    with connect_tls(context, port) as line:
        while time.monotonic() < until:
            sequence += 1
            at = int(time.time() * 1000) - VALUES * 10
            series = {name: {"at": at, "step": 10, "values": values} for name in NAMES}
            body = cbor2.dumps({"seq": sequence, "series": series})
            exchange_request(line, build_request("POST", "/v1/telemetry", body, headers))
            time.sleep(pause)


def _stored(installation: BenchSetUp, names: list[str]) -> StoredValues:
    said = installation.processes.run("-m", "fleet.management.benches.listeners_inner", "stored", *names, timeout=300)
    values: StoredValues = json.loads(said)
    return values
