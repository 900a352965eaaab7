"""A download of 100 MB over mutual TLS, compared with nginx: speed and support of ranges."""

import os
import statistics
import subprocess
import time
from pathlib import Path

from fleet.management.benches.ground import BenchSetUp
from fleet.management.benches.rows import BenchRow, bench_row, load_average

SIZE = 100 << 20
FETCHES = 6


def make_file(folder: Path) -> Path:
    """Create the file in nginx's folder."""
    (folder / "www").mkdir(exist_ok=True)
    path = folder / "www" / "blob.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def compare_downloads(installation: BenchSetUp, ours: tuple[Path, str], nginx: int, file: Path) -> list[BenchRow]:
    """Compare downloads with curl.

    Args:
        installation: the installation.
        ours: the device that may fetch the file, and the file's SHA-256.
        nginx: its port.
        file: the file that both serve.
    """
    device, digest = ours
    peer = (installation.folder / "peer-devices" / "dev-0.pem", installation.folder / "peer-ca.pem")
    addresses = {
        "nginx": (f"https://localhost:{nginx}/f/blob.bin", *peer),
        "ours": (f"https://localhost:{installation.device_port}/v1/blob/{digest}", device, installation.anchor),
    }
    took: dict[str, list[float]] = {"nginx": [], "ours": []}
    for _ in range(FETCHES):
        for name, target in addresses.items():
            started = time.perf_counter()
            _curl(target, "-o", "/dev/null")
            took[name].append(time.perf_counter() - started)
    speeds = {name: SIZE / statistics.median(values) / 1e6 for name, values in took.items()}
    part = _curl(addresses["ours"], "-r", "1000-1999")
    with file.open("rb") as source:
        source.seek(1000)
        honoured = part == source.read(1000)
    both = f"nginx {speeds['nginx']:.0f} MB/s, ours {speeds['ours']:.0f} MB/s"
    detail = f"{both}; Range honoured: {honoured}; {load_average()}"
    ratio = speeds["ours"] / speeds["nginx"] if honoured else 0.0
    return [bench_row("100 MB over TLS against nginx, Range honoured", ratio, "ratio", 0.8, detail, least=True)]


def _curl(target: tuple[str, Path, Path], *arguments: str) -> bytes:
    address, device, anchor = target
    identity = ["--cert", str(device), "--key", str(device.with_suffix(".key")), "--cacert", str(anchor)]
    command = ["curl", "-s", "-f", "--noproxy", "*", *identity, *arguments, address]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
