"""``python -m fleet.simulator.load``: a load generator with thousands of simulated devices in one process.

Each device has its own certificate and its own connection: HTTPS or DTLS, kept open between polls, or OSCORE, which is
connectionless. Devices poll, send the telemetry of their scenario pack, and inject the selected faults: lost or
half-open connections, repeated and reordered batches, wrong clocks, slow readers, reboots in the middle of a write;
over UDP also loss, duplication and reordering. At the end, or when interrupted, it prints a JSON summary.
"""

import argparse
import asyncio
import csv
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cbor2

from fleet.simulator import packs
from fleet.simulator.enrolment import enrol_many
from fleet.simulator.packs import Pack
from fleet.simulator.tally import LoadTally, ProgressPrinter
from fleet.simulator.transports import datagrams
from fleet.simulator.transports.base import Line, Reach
from fleet.simulator.transports.dtls import DtlsLine
from fleet.simulator.transports.https import HttpsLine
from fleet.simulator.transports.oscore import OscoreLine

FAULTS = ("half-open", "duplicate", "reorder", "clock", "slow", "reboot", "cut", *datagrams.FAULTS)
TRANSPORTS: Mapping[str, Callable[[Reach], Line]] = {"https": HttpsLine, "coaps": DtlsLine, "oscore": OscoreLine}
#: share of actions with a fault, for devices that inject faults
SHARE = 0.1
HOUR_MS = 3_600_000


@dataclass(slots=True)
class SimulatedDevice:
    """One simulated device."""

    line: Line
    source: random.Random
    sequence: int = 0


class LoadGenerator:
    """The actions of the devices.

    Args:
        pack: scenario pack of the devices.
        faults: names from ``FAULTS``.
        progress: receives progress messages.
    """

    def __init__(self, pack: Pack, faults: tuple[str, ...], progress: ProgressPrinter) -> None:
        self.shaken = tuple(fault for fault in faults if fault in datagrams.FAULTS)
        self._faults = tuple(fault for fault in faults if fault not in datagrams.FAULTS)
        self._pack, self.tally, self._progress = pack, LoadTally(), progress

    async def live(self, members: list[SimulatedDevice], seconds: float, poll_s: float) -> None:
        """Poll and report until the time is over."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._live(member, until, poll_s) for member in members))

    async def _live(self, device: SimulatedDevice, until: float, poll_s: float) -> None:
        await asyncio.sleep(device.source.uniform(0, poll_s))
        try:
            while time.monotonic() < until:
                started = time.perf_counter()
                status = await device.line.ask("GET", "/v1/poll")
                self.tally.polled(status, time.perf_counter() - started)
                await self._report(device)
                self._progress.say(f"{self.tally.polls} polls, {until - time.monotonic():.0f} s left")
                await asyncio.sleep(max(0.0, min(poll_s * device.source.uniform(0.8, 1.2), until - time.monotonic())))
        except Exception as error:  # noqa: BLE001  because one device that breaks must not end the others
            self.tally.answers[f"broken {type(error).__name__}"] += 1
        finally:
            device.line.close()

    async def _report(self, device: SimulatedDevice) -> None:
        fault = self._fault(device)
        device.sequence = max(device.sequence + 1, int(time.time() * 1000))
        skew = device.source.choice([-40 * 24, 3]) * HOUR_MS if fault == "clock" else 0
        body = cbor2.dumps(self._pack.batch(device.sequence, int(time.time() * 1000) + skew, device.source))
        if fault == "reboot":
            await device.line.break_off("/v1/telemetry", body)
            return
        await self._send(device, "telemetry", body, slow=fault == "slow")
        if fault in {"duplicate", "reorder"}:
            older = device.sequence if fault == "duplicate" else device.sequence - 1
            again = cbor2.dumps(self._pack.batch(older, int(time.time() * 1000), device.source))
            await self._send(device, "repeated", again)
        if self._pack.forbidden and device.source.random() < SHARE:
            device.sequence += 1
            await self._send(device, "forbidden", cbor2.dumps(self._pack.leak(device.sequence)))
        if fault in {"cut", "half-open"}:
            device.line.lose(half_open=fault == "half-open")

    async def _send(self, device: SimulatedDevice, act: str, body: bytes, *, slow: bool = False) -> None:
        status = await device.line.ask("POST", "/v1/telemetry", body, slow=slow)
        self.tally.answers[f"{act} {status}"] += 1

    def _fault(self, device: SimulatedDevice) -> str:
        if not self._faults or device.source.random() > SHARE:
            return ""
        fault = device.source.choice(self._faults)
        self.tally.faults[fault] += 1
        return fault


async def run_load(
    given: argparse.Namespace, tokens: list[tuple[str, str]], faults: tuple[str, ...]
) -> dict[str, object]:
    """Enrol and run the devices. Return the summary, also after an interruption."""
    parts, progress = urlsplit(given.server), ProgressPrinter(quiet=given.quiet)
    host, port = parts.hostname or "", parts.port or 443
    generator = LoadGenerator(packs.load_pack(given.pack), faults, progress)

    async def all_of_it() -> None:
        files = await enrol_many(
            (host, port), given.anchor, tokens, given.dir, lambda n: progress.say(f"{n} of {len(tokens)} enrolled")
        )
        members = []
        for number, path in enumerate(files):
            source = random.Random(given.seed * 100_003 + number)  # noqa: S311  because a simulation must be repeatable
            reach = Reach(
                host, port, given.coap_port, given.anchor, path, source, generator.shaken, generator.tally.faults
            )
            members.append(SimulatedDevice(TRANSPORTS[given.transport](reach), source))
        await generator.live(members, given.seconds, given.poll)

    work = asyncio.ensure_future(all_of_it())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        sys.stderr.write("interrupted\n")
    return {"devices": len(tokens), "pack": given.pack, "carrier": given.transport, **generator.tally.summary()}


def main() -> int:
    """Parse the arguments, run the devices, and print the summary."""
    parser = _parser()
    given = parser.parse_args()
    known = {"all": FAULTS, "pack": packs.load_pack(given.pack).faults}
    faults = known.get(given.faults) or tuple(part for part in given.faults.split(",") if part)
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    given.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with given.tokens.open(newline="") as file:
            tokens = [(row["device"], row["token"]) for row in csv.DictReader(file)]
    except KeyError as error:
        parser.error(f"{given.tokens} has no column {error}")
    except OSError as error:
        parser.error(str(error))
    try:
        summary = json.dumps(asyncio.run(run_load(given, tokens, faults)), indent=1)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(summary + "\n")
    if given.json:
        given.json.write_text(summary + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fleet.simulator.load", description="Run thousands of simulated devices in one process."
    )
    parser.add_argument("--server", required=True, help="https://host:port of the device gateway")
    parser.add_argument(
        "--transport", "--carrier", choices=sorted(TRANSPORTS), default="https", help="transport of the devices"
    )
    parser.add_argument("--coap-port", type=int, default=5684, help="CoAP port of the device gateway, for coaps")
    parser.add_argument("--anchor", type=Path, required=True, help="PEM file of the root CA")
    parser.add_argument(
        "--tokens",
        type=Path,
        required=True,
        help="CSV with device,token (`enrolment tokens`)",
    )
    parser.add_argument(
        "--dir", type=Path, required=True, help="folder of the devices' certificates, reused by later runs"
    )
    parser.add_argument("--pack", choices=packs.pack_names(), default="factory", help="scenario of the devices")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the run (default: %(default)s)")
    parser.add_argument("--poll", type=float, default=10, help="seconds between two polls of a device")
    said = f"comma-separated: {', '.join(FAULTS)}; or all; or pack for those of the scenario pack"
    parser.add_argument("--faults", default="", help=said)
    parser.add_argument("--seed", type=int, default=1, help="seed of values and faults (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the summary to this file")
    parser.add_argument("--quiet", action="store_true", help="do not print progress on stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
