"""CoAP compared with libcoap's server, over plain UDP on loopback: an idle poll, and one megabyte in blocks."""

import hashlib
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from fleet.management.benches import peers
from fleet.management.benches.ground import BenchSetUp
from fleet.management.benches.rows import BenchRow, bench_row, load_average
from fleet.management.quickstart.processes import free_port

ROUNDS, SECONDS, SOCKETS = 3, 3, 32
MEGABYTE = 1 << 20
FETCHES = 5


def compare_coap(installation: BenchSetUp, plain: tuple[int, int], blob: Path) -> list[BenchRow]:
    """Compare polls and blockwise transfers.

    Args:
        installation: the installation.
        plain: ports of the benchmark's plain listeners: of an idle device, and of one that may fetch the file.
        blob: the file.
    """
    port, folder = free_port(30600), installation.folder
    command = ("coap-server-notls", "-A", "127.0.0.1", "-p", str(port), "-d", "10")
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    with peers.run_peer(installation.cores[0], 0, *command, log=folder / "libcoap.log"):
        theirs, ours, their_speed, our_speed = [], [], [], []
        _client("-m", "put", "-b", "1024", "-f", str(blob), f"coap://127.0.0.1:{port}/big")
        for _ in range(ROUNDS):
            theirs.append(peers.coapload(folder, port, "time", sockets=SOCKETS, seconds=SECONDS)["rps"])
            ours.append(_checked(peers.coapload(folder, plain[0], "v1/poll", sockets=SOCKETS, seconds=SECONDS)))
        for _ in range(FETCHES):
            their_speed.append(_fetch(folder, f"coap://127.0.0.1:{port}/big", blob))
            our_speed.append(_fetch(folder, f"coap://127.0.0.1:{plain[1]}/v1/blob/{digest}", blob))
    poll, peer = statistics.median(ours), statistics.median(theirs)
    speed, other = statistics.median(our_speed), statistics.median(their_speed)
    return [
        bench_row("CoAP poll against libcoap's server", poll / peer, "ratio", 0.2,
            f"libcoap /time {peer:.0f}/s, ours {poll:.0f}/s with its table and a real parser, plain UDP, "
            f"{SOCKETS} sockets; {load_average()}", least=True),
        bench_row("1 MB in CoAP blocks against libcoap's server", speed / other, "ratio", 0.3,
            f"libcoap {other:.2f} MB/s, ours {speed:.2f}, UDP, medians of {FETCHES}, {load_average()}", least=True),
    ]  # fmt: skip


def make_megabyte(folder: Path) -> Path:
    """Create the file."""
    path = folder / "megabyte.bin"
    path.write_bytes(os.urandom(MEGABYTE))
    return path


def _checked(said: peers.CoapFigures) -> float:
    if said["bad"] or said["timeouts"] > said["n"] * 0.001:
        msg = f"CoAP polls failed: {said}"
        raise RuntimeError(msg)
    return float(said["rps"])


def _fetch(folder: Path, address: str, expected: Path) -> float:
    """Return megabytes a second."""
    out = folder / "fetched"
    out.unlink(missing_ok=True)
    started = time.perf_counter()
    _client("-B", "60", "-b", "1024", "-o", str(out), address)
    took = time.perf_counter() - started
    if out.read_bytes() != expected.read_bytes():
        msg = f"the file from {address} differs from the original ({out.stat().st_size} bytes)"
        raise RuntimeError(msg)
    return MEGABYTE / took / 1e6


def _client(*arguments: str) -> None:
    subprocess.run([shutil.which("coap-client-notls") or "", *arguments], check=True, capture_output=True, timeout=120)
