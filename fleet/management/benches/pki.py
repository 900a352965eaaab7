"""Speed of the CA: enrolments over TLS with their commits, OCSP responses, CRLs with a million entries.

The benchmark uses a temporary installation: SQLite with ``synchronous=FULL``, the real server on one core, the client
on another core if there is one.
"""

import json
import statistics
import sys
import threading
import time
from pathlib import Path

from fleet.management.benches.ground import BenchSetUp, bench_installation, enrolment_request
from fleet.management.benches.http import build_request, client_context, connect_tls, exchange_request
from fleet.management.benches.rows import BenchRow, bench_row, load_average

KEPT, FRESH, HANDSHAKES = 3000, 600, 600
STEP_CA = 331
CLIENTS = 3
LISTS = 256


def run() -> list[BenchRow]:
    """Run all measurements; takes about two minutes."""
    with bench_installation() as installation:
        rows = _enrolments(installation, installation.tokens(KEPT + FRESH))
        inner = installation.processes.run("-m", "fleet.management.benches.pki_inner", timeout=600)
        return [*rows, *json.loads(inner)]


def _enrolments(installation: BenchSetUp, tokens: list[tuple[str, str]]) -> list[BenchRow]:
    requests = [enrolment_request(name, token)[0] for name, token in tokens]
    installation.serve()
    installation.patiently(requests[0])  # the signer responds too
    _settled(installation.folder)
    kept = _one_connection(installation, requests[1:KEPT])
    handshakes = _many_connections(installation, [build_request("GET", "/healthz")] * HANDSHAKES)
    fresh = _many_connections(installation, requests[KEPT:])
    where = f"{load_average()}; server on one core, commit (FULL), journal and ledger leaf included"
    peer = f"step-ca 0.19, {STEP_CA}/s wall in the same kind of run elsewhere (ratio {kept / STEP_CA:.2f}); {where}"
    ratio = f"{fresh:.0f}/s against {handshakes:.0f} full handshakes/s with a trivial request, same client; {where}"
    return [
        bench_row("simpleenroll on one keep-alive connection", kept, "1/s", 600, peer, least=True),
        bench_row("simpleenroll, a fresh handshake each, share of the handshake rate", fresh / handshakes, "ratio", 0.5,
            ratio, least=True),
    ]  # fmt: skip


def _one_connection(installation: BenchSetUp, requests: list[bytes]) -> float:
    """Return enrolments per second, median of ten runs."""
    line = connect_tls(client_context(installation.anchor), installation.device_port)
    rates, stretch = [], len(requests) // 10
    for index in range(10):
        started = time.perf_counter()
        for request in requests[index * stretch : (index + 1) * stretch]:
            exchange_request(line, request)
        rates.append(stretch / (time.perf_counter() - started))
    line.close()
    return statistics.median(rates)


def _many_connections(installation: BenchSetUp, requests: list[bytes]) -> float:
    """Return requests per second with a new connection and a full handshake each, a few in parallel."""
    context = client_context(installation.anchor)
    waiting, lock, failures = list(requests), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                one = waiting.pop()
            try:
                with connect_tls(context, installation.device_port) as line:
                    exchange_request(line, one)
            except (OSError, RuntimeError) as error:
                failures.append(str(error))

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return len(requests) / (time.perf_counter() - started)


def _settled(folder: Path) -> None:
    """Wait until the worker has published the first CRLs, so that the start is not measured."""
    for _ in range(300):
        if len(list((folder / "status" / "crl").glob("*/*.crl"))) >= LISTS:
            return
        time.sleep(0.1)
    sys.exit("the worker did not publish its lists")
