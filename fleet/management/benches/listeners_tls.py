"""Cost of a handshake for the server, compared with nginx, and the number of devices that one core can serve."""

import statistics
import time
from pathlib import Path

from fleet.management.benches import peers
from fleet.management.benches.ground import BenchSetUp, cpu_seconds
from fleet.management.benches.rows import BenchRow, bench_row, load_average

SECONDS, ROUNDS = 3, 3
POLL_S = 300
SCALE, SCALE_SECONDS, IDLE_SECONDS = 10, 20, 10
VERSIONS = ("13", "12")


def measure_handshakes(
    installation: BenchSetUp, certs: Path, nginx: tuple[int, int], gateway_pid: int
) -> list[BenchRow]:
    """Measure full and resumed handshakes with a client certificate and one request each.

    Args:
        installation: the installation.
        certs: certificates of our devices.
        nginx: port and process id.
        gateway_pid: process id of our device gateway.
    """
    ours, theirs = _device(certs), _device(installation.folder / "peer-devices")
    cost: dict[tuple[str, str, bool], list[float]] = {}
    for _ in range(ROUNDS):
        for version in VERSIONS:
            for resume in (False, True):
                target = (nginx[0], "/static", str(installation.folder / "peer-ca.pem"), theirs)
                cost.setdefault(("nginx", version, resume), []).append(
                    _cost(installation, nginx[1], target, version, resume=resume)
                )
                target = (installation.device_port, "/v1/poll", str(installation.anchor), ours)
                cost.setdefault(("ours", version, resume), []).append(
                    _cost(installation, gateway_pid, target, version, resume=resume)
                )
    us = {key: statistics.median(values) for key, values in cost.items()}
    where = f"server CPU with one request each, medians of {ROUNDS}; {load_average()}"
    rows = [
        bench_row(f"full handshake with a client certificate, TLS 1.{version[1]}, CPU against nginx",
            us["ours", version, False] / us["nginx", version, False], "ratio", 1.5,
            f"ours {us['ours', version, False]:.0f} us, nginx {us['nginx', version, False]:.0f} us; {where}")
        for version in VERSIONS
    ]  # fmt: skip
    resumed = us["ours", "13", True]
    detail = f"ours {resumed:.0f} us, nginx {us['nginx', '13', True]:.0f} us; {where}"
    share = resumed / us["ours", "13", False]
    rows.append(bench_row("resumed handshake against a full one, TLS 1.3", share, "ratio", 0.8, detail))
    return [*rows, *_devices(installation, certs, nginx, gateway_pid, us)]


def _devices(
    installation: BenchSetUp,
    certs: Path,
    nginx: tuple[int, int],
    gateway_pid: int,
    us: dict[tuple[str, str, bool], float],
) -> list[BenchRow]:
    """Return devices per core, from the cost of a connection with its poll, and verify it with a run at a tenth of it.

    Sparse connections find cold caches and a sleeping core. A run with nginx at the same rate shows the cost of that
    alone.
    """
    rows, idle = [], _idle(gateway_pid)
    ours = (installation.device_port, "/v1/poll", str(installation.anchor), _device(certs))
    theirs = (
        nginx[0],
        "/static",
        str(installation.folder / "peer-ca.pem"),
        _device(installation.folder / "peer-devices"),
    )
    for name, resume, goal in (("resumption", True, 150_000), ("full handshakes", False, 80_000)):
        cost, peer = us["ours", "13", resume], us["nginx", "13", resume]
        devices = POLL_S / (cost / 1e6)
        rate = devices / POLL_S / SCALE
        pause = int(1e6 / rate - _clients_part(us, resume=resume))
        used, came = _sparse(installation, gateway_pid, ours, pause, resume=resume)
        nginx_used, nginx_came = _sparse(installation, nginx[1], theirs, pause, resume=resume)
        shown = (1 - idle) * came / (used - idle) * POLL_S
        dearer, nginx_dearer = (used - idle) / came * 1e6 / cost, nginx_used / nginx_came * 1e6 / peer
        detail = f"{cost:.0f} us a connection with its poll; {load_average()}"
        proof = (
            f"{came:.0f} connections/s used {used * 100:.1f} % of the core, {idle * 100:.1f} % are used without any; "
            f"one costs {dearer:.2f} times as much as when many come, nginx's {nginx_dearer:.2f}; {load_average()}"
        )
        rows += [
            bench_row(f"devices a core, a poll in 5 minutes with {name}", devices, "devices", goal, detail, least=True),
            bench_row(f"the same by a run at a tenth, with {name}", shown, "devices", goal, proof, least=True),
        ]
    return rows


def _sparse(
    installation: BenchSetUp, pid: int, target: tuple[int, str, str, Path], pause_us: int, *, resume: bool
) -> tuple[float, float]:
    """Open sparse connections; return the used share of the core, and the connections per second."""
    before = cpu_seconds(pid)
    said = peers.tlsconn(installation.folder, target, "13", resume=resume, seconds=SCALE_SECONDS, pause_us=pause_us)
    return (cpu_seconds(pid) - before) / SCALE_SECONDS, float(said["rps"])


def _idle(gateway_pid: int) -> float:
    """Return the share of the core that the idle listener uses."""
    before = cpu_seconds(gateway_pid)
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(gateway_pid) - before) / IDLE_SECONDS


def _clients_part(us: dict[tuple[str, str, bool], float], *, resume: bool) -> float:
    """Return the approximate client time of a connection in microseconds, so that the pause gives the wanted rate."""
    return 1.5 * us["ours", "13", resume]


def _cost(
    installation: BenchSetUp, pid: int, target: tuple[int, str, str, Path], version: str, *, resume: bool
) -> float:
    before = cpu_seconds(pid)
    said = peers.tlsconn(installation.folder, target, version, resume=resume, seconds=SECONDS)
    if said["bad"] or (resume and said["resumed"] < said["n"] * 0.9):
        msg = f"handshakes failed or were not resumed: {said}"
        raise RuntimeError(msg)
    return (cpu_seconds(pid) - before) / float(said["n"]) * 1e6


def _device(folder: Path) -> Path:
    return min(folder.glob("*.pem"))
