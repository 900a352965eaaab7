"""A temporary installation for a benchmark: the real server on one core, clients on the other cores."""

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from fleet.environment import ROOT
from fleet.management.benches.http import (
    basic_authorization,
    build_request,
    client_context,
    connect_tls,
    exchange_request,
)
from fleet.management.quickstart.processes import Processes, free_port
from pki.kernel import handover

TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class BenchSetUp:
    """The installation and its processes.

    Args:
        processes: of this installation; ``folder`` is its FLEET_DIR.
        ports: by setting name.
        anchor: PEM file of the root CA.
    """

    processes: Processes
    ports: dict[str, int]
    anchor: Path
    cores: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))

    @property
    def folder(self) -> Path:
        """Return FLEET_DIR."""
        return self.processes.folder

    @property
    def device_port(self) -> int:
        """Return the device gateway's port."""
        return self.ports["FLEET_DEVICE_PORT"]

    def tokens(self, many: int) -> list[tuple[str, str]]:
        """Return names and one-time tokens for devices of one hardware model."""
        path = self.folder / "tokens.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["device", "hardware"])
            writer.writerows([f"bench-{number:06}", "bench"] for number in range(many))
        self.processes.run("manage.py", "release", "online-keys")
        self.processes.run("manage.py", "hardware", "register", "bench", "--vendor", "bench.example")
        said = self.processes.run("manage.py", "enrolment", "tokens", str(path), timeout=600)
        return [(row["device"], row["token"]) for row in csv.DictReader(io.StringIO(said))]

    def serve(self, *arguments: str) -> None:
        """Start the server on the first core; the measuring process uses the other cores."""
        with self.on_servers_core():
            self.processes.start("serve", "manage.py", "serve", *arguments)
            self.patiently(build_request("GET", "/healthz"))
            self.processes.check()

    @contextmanager
    def on_servers_core(self) -> Iterator[None]:
        """Let processes that start inside the block share the server's core; afterwards measure on the other cores."""
        os.sched_setaffinity(0, {self.cores[0]})
        try:
            yield
        finally:
            os.sched_setaffinity(0, set(self.cores[1:]) or set(self.cores))

    def environment(self) -> dict[str, str]:
        """Return the environment for a process of this installation."""
        return {**handover.environment_of(handover.KINDS), **self.processes.environment, "FLEET_DIR": str(self.folder)}

    def enrol(self, name: str, token: str, folder: Path) -> Path:
        """Enrol a device with EST; write ``NAME.pem`` (chain) and ``NAME.key``, return the first."""
        asked, key = enrolment_request(name, token)
        answer = base64.b64decode(self.patiently(asked))
        leaf = pkcs7.load_der_pkcs7_certificates(answer)[0]
        chain = leaf.public_bytes(serialization.Encoding.PEM) + (self.folder / "issuing.pem").read_bytes()
        (folder / f"{name}.pem").write_bytes(chain)
        form = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(pem)
        return folder / f"{name}.pem"

    def patiently(self, asked: bytes) -> bytes:
        """Return the response to a request on a new connection, as soon as listener and signer respond."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with connect_tls(client_context(self.anchor), self.device_port) as line:
                    return exchange_request(line, asked)
            except (OSError, RuntimeError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the running server, by name."""
        found: dict[str, int] = json.loads((self.folder / "run" / "serve.json").read_text())["pids"]
        return found

    def cpu(self, name: str) -> float:
        """Return the processor seconds that a process of the server has used, with its threads."""
        return cpu_seconds(self.pids()[name])


def certificate_request(name: str) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """Return a certificate request (PKCS#10, DER) and its new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.DER), key


def enrolment_request(name: str, token: str) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """Return the bytes of a simpleenroll request with a new key, and the key."""
    csr, key = certificate_request(name)
    headers = {"Content-Type": "application/pkcs10", "Authorization": basic_authorization(name, token)}
    return build_request("POST", "/.well-known/est/simpleenroll", base64.b64encode(csr), headers), key


@contextmanager
def bench_installation(folder: Path | None = None, **settings: str) -> Iterator[BenchSetUp]:
    """Create an installation with its CA; stop its processes at the end.

    Args:
        folder: where it is created and kept for later runs; without it, a temporary folder is used.
        **settings: environment of its processes.
    """
    root = folder or Path(tempfile.mkdtemp(prefix="muster-bench-"))
    names = ("FLEET_OPERATOR_PORT", "FLEET_DEVICE_PORT", "FLEET_STATUS_PORT", "FLEET_COAP_PORT", "FLEET_OSCORE_PORT")
    ports = {name: free_port(31000 + 200 * number) for number, name in enumerate(names)}
    environment = {name: str(port) for name, port in ports.items()} | settings
    processes = Processes(root, environment)
    cores = os.sched_getaffinity(0)
    try:
        yield BenchSetUp(processes, ports, _authority_in(root, processes))
    finally:
        os.sched_setaffinity(0, cores)
        processes.stop()
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)


def _authority_in(folder: Path, processes: Processes) -> Path:
    """Return the root's PEM file: of a kept installation, after migration to this version, or of a new CA."""
    anchor = folder / "offline" / "root-ca.pem"
    if not (folder / "issuing.pem").exists():
        return create_bench_ca(folder, processes)
    processes.run("manage.py", "upgrade", timeout=3600)
    return anchor


def create_bench_ca(folder: Path, processes: Processes) -> Path:
    """Create root and issuing CA; return the root's PEM file."""
    root, csr, issued = folder / "offline", folder / "issuing.csr", folder / "issuing.pem"
    processes.run("manage.py", "upgrade")
    processes.run("-m", "fleet.officer", "ca-root", "--out", str(root), "--name", "Bench Root")
    processes.run("manage.py", "ca", "csr", "--name", "Bench Issuing CA", "--out", str(csr))
    sign = ("--root", str(root), "--csr", str(csr), "--out", str(issued), "--yes")
    processes.run("-m", "fleet.officer", "ca-issue", *sign)
    anchor = root / "root-ca.pem"
    processes.run("manage.py", "ca", "import", "--certificate", str(issued), "--root", str(anchor))
    return anchor


def start_inner(installation: BenchSetUp, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that measures from inside (``listeners_inner``); its output can be read."""
    command = [sys.executable, "-m", "fleet.management.benches.listeners_inner", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=installation.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=handover.descriptors_of(handover.KINDS),
    )


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds of a process and its children."""
    total = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            facts = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(process.name) == pid or int(facts[1]) == pid:
            total += int(facts[11]) + int(facts[12])
    return total / TICK
