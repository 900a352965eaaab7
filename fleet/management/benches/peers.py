"""The peers for comparison: nginx over mutual TLS, goosebit, libcoap's server; and load tools in C.

All peers listen on loopback, in the benchmark's own folder, on the same core as the server they are compared with.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.environment import ROOT
from fleet.management.quickstart.processes import free_port
from pki.kernel import clock
from pki.kernel.errors import UnavailableError

SOURCES = ROOT / "tests" / "peers" / "load"
GOOSEBIT = ROOT / "var" / "peers" / "goosebit" / "bin" / "python"
TLS = ("-lssl", "-lcrypto")
BODY = '{"next":300}'


def require_peers(*programs: str) -> None:
    """Raise an error if a peer is missing.

    Raises:
        UnavailableError: the message names what is missing and how to install it.
    """
    missing = [name for name in programs if not (Path(name).exists() if "/" in name else shutil.which(name))]
    if missing:
        msg = f"Missing for this benchmark: {', '.join(missing)}. Run `make bench-peers` as root."
        raise UnavailableError(msg)


def build_load_tools(folder: Path) -> None:
    """Compile the load tools."""
    require_peers("cc")
    compiler = shutil.which("cc") or ""
    for name, libraries in (("coapload", ()), ("tlsload", TLS), ("tlsconn", TLS), ("tlsstorm", TLS)):
        source, program = str(SOURCES / f"{name}.c"), str(folder / name)
        subprocess.run([compiler, "-O2", "-o", program, source, *libraries], check=True)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a load tool.

    Args:
        port: on loopback.
        path: of the request.
        ca: PEM file of the server's root, or "-" for plain HTTP.
        certs: folder with the devices' certificates and keys, or "-".
        connections: number of parallel connections.
        seconds: duration.
        pause_ms: pause between a response and the next request of a connection.
    """

    port: int
    path: str
    ca: str = "-"
    certs: str = "-"
    connections: int = 32
    seconds: float = 3.0
    pause_ms: float = 0.0


class LoadFigures(TypedDict):
    """The output of a load tool.

    Args:
        rps: responses per second; for ``tlsconn``, connections per second.
        p50_ms: median.
        p99_ms: 99th percentile.
        n: number of responses or connections.
        bad: number of errors and missing responses among them.
    """

    rps: float
    p50_ms: float
    p99_ms: float
    n: int
    bad: int


class CoapFigures(LoadFigures):
    """The output of ``coapload``: ``timeouts`` counts requests without a response."""

    timeouts: int


class ConnectionFigures(LoadFigures):
    """The output of ``tlsconn``: ``resumed`` counts resumed sessions."""

    resumed: int


def tlsload(folder: Path, to: Target) -> LoadFigures:
    """Return requests per second, p50 and p99 in ms, and failures, as measured by ``tlsload.c``."""
    arguments = [str(to.port), to.path, str(to.connections), str(to.seconds), to.ca, to.certs, "-j", str(to.pause_ms)]
    done = subprocess.run([folder / "tlsload", *arguments], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        msg = f"tlsload failed: {done.stdout[-300:]} {done.stderr[-300:]}"
        raise RuntimeError(msg)
    figures: LoadFigures = json.loads(done.stdout)
    return figures


def tlsconn(
    folder: Path, to: tuple[int, str, str, Path], version: str, *, resume: bool, seconds: float, pause_us: int = 0
) -> ConnectionFigures:
    """Return connections per second and the number of resumed ones, as measured by ``tlsconn.c``.

    Args:
        folder: folder of the tools.
        to: port, path, CA file, certificate of the device (its key beside it).
        version: 12 or 13.
        resume: whether to resume the session of the previous connection.
        seconds: duration.
        pause_us: pause between two connections.
    """
    port, path, ca, device = to
    identity = [ca, str(device), str(device.with_suffix(".key")), version]
    arguments = [str(port), path, str(seconds), *identity, *(["-r"] if resume else []), "-p", str(max(pause_us, 0))]
    done = subprocess.run([folder / "tlsconn", *arguments], capture_output=True, text=True, check=True)
    figures: ConnectionFigures = json.loads(done.stdout)
    return figures


def coapload(folder: Path, port: int, path: str, *, sockets: int, seconds: float) -> CoapFigures:
    """Return requests per second, p50 and p99 in ms, and failures, as measured by ``coapload.c``."""
    arguments = [str(port), path, str(sockets), str(seconds), "-j"]
    done = subprocess.run([folder / "coapload", *arguments], capture_output=True, text=True, check=True)
    figures: CoapFigures = json.loads(done.stdout)
    return figures


@contextmanager
def run_peer(
    core: int, port: int, *command: str, log: Path, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a peer on one core until the block ends; yield its process id when its TCP port responds (0: do not wait)."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [shutil.which("taskset") or "", "-c", str(core), *command],
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _await(child, port, log)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        if child.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close() if port else time.sleep(0.5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    msg = f"A peer did not start: {log.read_text()[-500:]}"
    raise RuntimeError(msg)


@contextmanager
def run_nginx(folder: Path, core: int) -> Iterator[tuple[int, int]]:
    """Run nginx with one worker, mutual TLS, a static response and files in ``www``; yield port and process id."""
    require_peers("nginx", "taskset")
    nginx_certificates(folder)
    (folder / "www").mkdir(exist_ok=True)
    port = free_port(32000)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err; daemon off; {user}
events {{ worker_connections 12000; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; {places}
  ssl_certificate {folder}/peer-server.pem; ssl_certificate_key {folder}/peer-server.key;
  ssl_client_certificate {folder}/peer-ca.pem; ssl_verify_client optional; ssl_verify_depth 3;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:10m; ssl_session_tickets on;
  server {{ listen 127.0.0.1:{port} ssl backlog=4096;
    location = /static {{ default_type application/json; return 200 '{BODY}'; }}
    location /f/ {{ alias {folder}/www/; }} }}
}}
""")
    command = ("nginx", "-p", str(folder), "-e", f"{folder}/nginx.err", "-c", f"{folder}/nginx.conf")
    with run_peer(core, port, *command, log=folder / "nginx.log") as pid:
        yield port, pid


def nginx_certificates(folder: Path) -> None:
    """Create nginx's certificates: root, issuing CA, server, devices in ``peer-devices``; chain length as ours."""
    if (folder / "peer-ca.pem").exists():
        return
    root_key, root = _issue("Peer Root", None, None)
    issuing_key, issuing = _issue("Peer Issuing", root_key, root)
    (folder / "peer-ca.pem").write_bytes(_pem(root))
    (folder / "peer-devices").mkdir()
    leaves = [(folder / "peer-server", ExtendedKeyUsageOID.SERVER_AUTH)]
    leaves += [(folder / "peer-devices" / f"dev-{number}", ExtendedKeyUsageOID.CLIENT_AUTH) for number in range(4)]
    for path, usage in leaves:
        key, leaf = _issue("localhost", issuing_key, issuing, usage)
        path.with_suffix(".pem").write_bytes(_pem(leaf) + _pem(issuing))
        form = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path.with_suffix(".key").write_bytes(pem)


def _issue(
    name: str,
    above_key: ec.EllipticCurvePrivateKey | None,
    above: x509.Certificate | None,
    usage: x509.ObjectIdentifier | None = None,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = clock.now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return key, builder.sign(above_key or key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
