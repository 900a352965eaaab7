"""How fast the CA is: enrolments over TLS with their commits, OCSP answers, revocation lists of a million entries.

A set-up of its own in a temporary folder: SQLite with ``synchronous=FULL``, the real server on one core, the client on
another where there is one.
"""

import base64
import csv
import io
import json
import os
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.management.benches.rows import load, row
from fleet.management.quickstart.processes import Processes, free_port

KEPT, FRESH, HANDSHAKES = 3000, 600, 600
STEP_CA = 331
CLIENTS = 3
LISTS = 256


def run() -> list[dict[str, Any]]:
    """Measure everything; takes about two minutes."""
    folder = Path(tempfile.mkdtemp(prefix="muster-bench-"))
    ports = {"FLEET_OPERATOR_PORT": free_port(31000), "FLEET_DEVICE_PORT": free_port(31200)}
    ports["FLEET_STATUS_PORT"] = free_port(31400)
    processes = Processes(folder, {name: str(port) for name, port in ports.items()})
    try:
        anchor = _authority(folder, processes)
        tokens = _tokens(folder, processes, KEPT + FRESH)
        rows = _enrolments(anchor, ports["FLEET_DEVICE_PORT"], tokens, processes)
        inner = processes.run("-m", "fleet.management.benches.pki_inner", timeout=600)
        return [*rows, *json.loads(inner)]
    finally:
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _authority(folder: Path, processes: Processes) -> Path:
    root, csr, issued = folder / "offline", folder / "issuing.csr", folder / "issuing.pem"
    processes.run("manage.py", "upgrade")
    processes.run("-m", "fleet.officer", "ca-root", "--out", str(root), "--name", "Bench Root")
    processes.run("manage.py", "ca", "csr", "--name", "Bench Issuing CA", "--out", str(csr))
    sign = ("--root", str(root), "--csr", str(csr), "--out", str(issued), "--yes")
    processes.run("-m", "fleet.officer", "ca-issue", *sign)
    anchor = root / "root-ca.pem"
    processes.run("manage.py", "ca", "import", "--certificate", str(issued), "--root", str(anchor))
    return anchor


def _tokens(folder: Path, processes: Processes, many: int) -> list[tuple[str, str]]:
    wanted = folder / "tokens.csv"
    with wanted.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device", "hardware"])
        writer.writerows([f"bench-{number:06}", "bench"] for number in range(many))
    processes.run("manage.py", "release", "online-keys")
    processes.run("manage.py", "hardware", "register", "bench", "--vendor", "bench.example")
    said = processes.run("manage.py", "enrolment", "tokens", str(wanted), timeout=600)
    return [(one["device"], one["token"]) for one in csv.DictReader(io.StringIO(said))]


def _enrolments(anchor: Path, port: int, tokens: list[tuple[str, str]], processes: Processes) -> list[dict[str, Any]]:
    requests = [_request(name, token) for name, token in tokens]
    cores = sorted(os.sched_getaffinity(0))
    # The server's processes inherit the core that is set while they start; the client takes the other ones.
    os.sched_setaffinity(0, {cores[0]})
    processes.start("serve", "manage.py", "serve")
    _ready(anchor, port, requests[0])
    _settled(processes.folder)
    os.sched_setaffinity(0, set(cores[1:]) or {cores[0]})
    try:
        kept = _one_connection(anchor, port, requests[1:KEPT])
        handshakes = _many_connections(anchor, port, [_HEALTH] * HANDSHAKES)
        fresh = _many_connections(anchor, port, requests[KEPT:])
    finally:
        os.sched_setaffinity(0, set(cores))
    where = f"{load()}; server on one core, commit (FULL), journal and ledger leaf included"
    peer = f"step-ca 0.19, {STEP_CA}/s wall in the same kind of run elsewhere (ratio {kept / STEP_CA:.2f}); {where}"
    ratio = f"{fresh:.0f}/s against {handshakes:.0f} full handshakes/s with a trivial request, same client; {where}"
    return [
        row("simpleenroll on one keep-alive connection", kept, "1/s", 600, peer, least=True),
        row("simpleenroll, a fresh handshake each, share of the handshake rate", fresh / handshakes, "ratio", 0.5,
            ratio, least=True),
    ]  # fmt: skip


_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _request(name: str, token: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    body = base64.b64encode(csr.public_bytes(serialization.Encoding.DER))
    login = base64.b64encode(f"{name}:{token}".encode())
    return (
        b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
        b"Authorization: Basic " + login + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )


def _connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname="localhost")


def once(anchor: Path, port: int, request: bytes) -> bytes:
    """Return the body that one request gets over a connection of its own.

    Raises:
        OSError: nobody answers.
        RuntimeError: the answer is a refusal.
    """
    with _connect(ssl.create_default_context(cafile=str(anchor)), port) as line:
        return _exchange(line, request)


def _exchange(line: ssl.SSLSocket, request: bytes) -> bytes:
    line.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        msg = f"the server answered {head[:80]!r} {body[:200]!r}"
        raise RuntimeError(msg)
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += line.recv(65536)
    return body


def _one_connection(anchor: Path, port: int, requests: list[bytes]) -> float:
    """Return enrolments a second, median over ten stretches."""
    line = _connect(ssl.create_default_context(cafile=str(anchor)), port)
    rates, stretch = [], len(requests) // 10
    for place in range(10):
        started = time.perf_counter()
        for request in requests[place * stretch : (place + 1) * stretch]:
            _exchange(line, request)
        rates.append(stretch / (time.perf_counter() - started))
    line.close()
    return statistics.median(rates)


def _many_connections(anchor: Path, port: int, requests: list[bytes]) -> float:
    """Return requests a second with a new connection and a full handshake each, a few at a time."""
    context = ssl.create_default_context(cafile=str(anchor))
    waiting, lock, failures = list(requests), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                request = waiting.pop()
            try:
                line = _connect(context, port)
                _exchange(line, request)
                line.close()
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
    """Return when the worker has published the first revocation lists: no measure of a start is wanted."""
    for _ in range(300):
        if len(list((folder / "status" / "crl").glob("*/*.crl"))) >= LISTS:
            return
        time.sleep(0.1)
    sys.exit("the worker did not publish its lists")


def _ready(anchor: Path, port: int, first: bytes) -> None:
    """Return when door and signer work: the first enrolment has its certificate."""
    context = ssl.create_default_context(cafile=str(anchor))
    for _ in range(200):
        try:
            line = _connect(context, port)
            _exchange(line, first)
            line.close()
        except (OSError, RuntimeError):
            time.sleep(0.1)
        else:
            return
    sys.exit("the server did not start")
