"""``python -m fleet.simulator.crowd``: thousands of devices in one process, for load and for trouble.

Each device has its own certificate and its own TLS connection, kept between polls. They poll, send telemetry as their
scenario pack says, and misbehave as they are told: lost connections, half-open ones, repeated and reordered batches,
wrong clocks, slow readers, reboots in the middle of a write. At the end a JSON summary says what came of it.
"""

import argparse
import asyncio
import base64
import csv
import json
import logging
import random
import ssl
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from fleet.simulator import packs
from fleet.simulator.packs import Pack

FAULTS = ("half-open", "duplicate", "reorder", "clock", "slow", "reboot", "cut")
#: share of acts at which a device that is to misbehave does so
SHARE = 0.1
PATIENCE = 20.0
ENROLLING = 8
#: connections that are left half open at once; the oldest are let go
MOST_HALF_OPEN = 200
HOUR_MS = 3_600_000
_logger = logging.getLogger("muster.crowd")


@dataclass(slots=True)
class Tally:
    """What came of it: answers by act and status, latencies of polls in ms."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    polls_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Return it for JSON."""
        polls = sorted(self.polls_ms) or [0.0]
        p50, p99 = polls[len(polls) // 2], polls[int(len(polls) * 0.99)]
        return {"answers": dict(self.answers), "faults": dict(self.faults), "poll_p50_ms": p50, "poll_p99_ms": p99}


@dataclass(slots=True)
class Member:
    """One device of the crowd."""

    name: str
    context: ssl.SSLContext
    source: random.Random
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    sequence: int = 0


class Crowd:
    """The devices and where they go.

    Args:
        server: ``https://host:port``.
        anchor: PEM file of the only trusted root.
        pack: what they are.
        faults: of ``FAULTS``.
    """

    def __init__(self, server: str, anchor: Path, pack: Pack, faults: tuple[str, ...]) -> None:
        parts = urlsplit(server)
        self._host, self._port, self._anchor = parts.hostname or "", parts.port or 443, anchor
        self._pack, self._faults, self.tally = pack, faults, Tally()
        self._half_open: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque(maxlen=MOST_HALF_OPEN)

    async def enrol(self, tokens: list[tuple[str, str]], folder: Path, seed: int) -> list[Member]:
        """Enrol all devices by EST, some at a time; ones that have a certificate in the folder keep it."""
        gate, plain = asyncio.Semaphore(ENROLLING), ssl.create_default_context(cafile=str(self._anchor))

        async def one(number: int, name: str, token: str) -> Member:
            async with gate:
                path = folder / f"{name}.pem"
                if not path.exists():
                    path.write_bytes(await self._certificate(plain, name, token))
                    path.chmod(0o600)
                context = ssl.create_default_context(cafile=str(self._anchor))
                context.load_cert_chain(path)
                return Member(name, context, random.Random(seed * 100_003 + number))  # noqa: S311  because a simulation shall repeat itself

        return list(await asyncio.gather(*(one(number, *pair) for number, pair in enumerate(tokens))))

    async def live(self, members: list[Member], seconds: float, poll_s: float) -> None:
        """Let them poll and report until the time is over."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._live(one, until, poll_s) for one in members))

    async def _live(self, one: Member, until: float, poll_s: float) -> None:
        await asyncio.sleep(one.source.uniform(0, poll_s))
        while time.monotonic() < until:
            started = time.perf_counter()
            status = await self._ask(one, "GET", "/v1/poll")
            self.tally.answers[f"poll {status}"] += 1
            self.tally.polls_ms.append(round((time.perf_counter() - started) * 1000, 2))
            await self._report(one)
            await asyncio.sleep(max(0.0, min(poll_s * one.source.uniform(0.8, 1.2), until - time.monotonic())))
        await self._drop(one)

    async def _report(self, one: Member) -> None:
        fault = self._fault(one)
        one.sequence = max(one.sequence + 1, int(time.time() * 1000))
        skew = one.source.choice([-40 * 24, 3]) * HOUR_MS if fault == "clock" else 0
        body = cbor2.dumps(self._pack.batch(one.sequence, int(time.time() * 1000) + skew, one.source))
        if fault == "reboot":
            await self._break_off(one, body)
            return
        status = await self._ask(one, "POST", "/v1/telemetry", body, slow=fault == "slow")
        self.tally.answers[f"telemetry {status}"] += 1
        if fault in {"duplicate", "reorder"}:
            older = one.sequence if fault == "duplicate" else one.sequence - 1
            again = cbor2.dumps(self._pack.batch(older, int(time.time() * 1000), one.source))
            self.tally.answers[f"repeated {await self._ask(one, 'POST', '/v1/telemetry', again)}"] += 1
        if self._pack.forbidden and one.source.random() < SHARE:
            one.sequence += 1
            leak = cbor2.dumps(self._pack.leak(one.sequence))
            self.tally.answers[f"forbidden {await self._ask(one, 'POST', '/v1/telemetry', leak)}"] += 1
        if fault in {"cut", "half-open"}:
            await self._lose(one, fault)

    def _fault(self, one: Member) -> str:
        if not self._faults or one.source.random() > SHARE:
            return ""
        fault = one.source.choice(self._faults)
        self.tally.faults[fault] += 1
        return fault

    async def _ask(self, one: Member, method: str, path: str, body: bytes = b"", *, slow: bool = False) -> int:
        """Return the status of one request, 0 when the line broke; the next request opens a new one."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
        head += f"Content-Type: application/cbor\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await self._line(one)
                writer.write(head.encode() + body)
                await writer.drain()
                if slow:
                    await asyncio.sleep(1)
                return await _status(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            await self._drop(one)
            return 0

    async def _line(self, one: Member) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if one.line is None or one.line[1].is_closing():
            one.line = await asyncio.open_connection(self._host, self._port, ssl=one.context)
        return one.line

    async def _break_off(self, one: Member, body: bytes) -> None:
        """Lose power in the middle of a write: a promise of more bytes than come."""
        try:
            _, writer = await self._line(one)
            head = f"POST /v1/telemetry HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body[: len(body) // 2])
            await writer.drain()
            writer.transport.abort()
        except OSError:
            pass
        one.line = None

    async def _lose(self, one: Member, fault: str) -> None:
        """Drop the line: cut it, or leave it half open, as a device whose radio went away does."""
        if one.line is not None and fault == "cut":
            one.line[1].transport.abort()
        elif one.line is not None:
            one.line[1].transport.pause_reading()  # type: ignore[attr-defined]  # every socket transport has it
            self._half_open.append(one.line)
        one.line = None

    @staticmethod
    async def _drop(one: Member) -> None:
        if one.line is not None:
            one.line[1].transport.abort()
            one.line = None

    async def _certificate(self, context: ssl.SSLContext, name: str, token: str) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        body = base64.b64encode(csr.public_bytes(serialization.Encoding.DER))
        login = base64.b64encode(f"{name}:{token}".encode()).decode()
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        head = f"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Basic {login}\r\n"
        head += f"Content-Type: application/pkcs10\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        if b" 200 " not in answer[:20]:
            msg = f"{name} was not enrolled: {answer[:300]!r}"
            raise OSError(msg)
        leaf = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.partition(b"\r\n\r\n")[2]))[0]
        form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        return leaf.public_bytes(pem) + key.private_bytes(pem, form, none)


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0].strip()
    await reader.readexactly(int(length or b"0"))
    return int(head.split(b" ", 2)[1])


def main() -> int:
    """Enrol, live, tell."""
    parser = argparse.ArgumentParser(prog="fleet.simulator.crowd", description=__doc__)
    parser.add_argument("--server", required=True, help="https://host:port of the device door")
    parser.add_argument("--anchor", type=Path, required=True, help="PEM file of the root CA")
    parser.add_argument("--tokens", type=Path, required=True, help="CSV with device,token (`enrolment tokens`)")
    parser.add_argument("--dir", type=Path, required=True, help="keeps the devices' certificates between runs")
    parser.add_argument("--pack", choices=packs.names(), default="factory")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--poll", type=float, default=10, help="seconds between two polls of a device")
    parser.add_argument("--faults", default="", help=f"of {', '.join(FAULTS)}, with commas between; or all")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    faults = FAULTS if given.faults == "all" else tuple(one for one in given.faults.split(",") if one)
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    given.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with given.tokens.open(newline="") as file:
        tokens = [(row["device"], row["token"]) for row in csv.DictReader(file)]
    crowd = Crowd(given.server, given.anchor, packs.load(given.pack), faults)

    async def run() -> None:
        members = await crowd.enrol(tokens, given.dir, given.seed)
        await crowd.live(members, given.seconds, given.poll)

    asyncio.run(run())
    summary = {"devices": len(tokens), "pack": given.pack, **crowd.tally.summary()}
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
