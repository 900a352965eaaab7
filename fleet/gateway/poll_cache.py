"""The commonest question, "anything for me?", answered from memory when the answer is no.

The table knows only devices for which nothing waits. Whatever it does not know, or knows to be out of date, goes the
ordinary way through the protocol, which decides everything: this table can spare work, never grant anything.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from django.conf import settings

from devices.services import presence
from fleet.gateway import codec
from ota.services.idle import Idle
from pki.kernel import cbor

#: waiting times are spread by this share, so that devices that start together do not stay together
SPREAD = 0.1
VARIANTS = 16
#: how late the loop may be before devices are asked to come less often, and by which factor
LATE = ((1.0, 4), (0.25, 2))
_SECONDS = 0xFFFF_FFFF
#: what fits into a row; devices of further domains always go the ordinary way
MOST_DOMAINS = 0xFFFF


class PollCache:
    """Which certificate belongs to a device for which nothing waits, and until when that holds.

    About 200 bytes a certificate: each row is one integer of device, domain, first and last second.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._hosts: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self._addresses: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def knows(self, fingerprint: bytes) -> bool:
        """Say whether a certificate has a row."""
        return fingerprint in self._rows

    def idle(self, fingerprint: bytes, host: str) -> int:
        """Return the internal id of the device when nothing waits for it, or 0: ask.

        Args:
            fingerprint: SHA-256 of the certificate that the transport has verified.
            host: name that the client used; the certificate must belong to its trust domain.
        """
        row = self._rows.get(fingerprint, 0)
        if not row or not (row >> 32 & _SECONDS) <= time.time() < (row & _SECONDS):
            return 0
        domain = self._hosts.get(host) or self._hosts.get(host.lower()) or self._hosts.get("", 0)
        return row >> 80 if domain == row >> 64 & MOST_DOMAINS else 0

    def count(self, device: int, address: str) -> None:
        """Note a poll that was answered from here."""
        self._counts[device] = self._counts.get(device, 0) + 1
        self._addresses[device] = address

    def hand_over(self, size: int) -> None:
        """Give what was counted to presence; each answer had ``size`` bytes."""
        counts, addresses = self._counts, self._addresses
        self._counts, self._addresses = {}, {}
        presence.seen_often({device: (count, addresses[device]) for device, count in counts.items()}, size)

    def put(self, row: Idle) -> bool:
        """Take one row; return whether it says something else than before."""
        fingerprint, device, domain, since, until = row
        if not until or domain > MOST_DOMAINS:
            return (self._rows.pop(fingerprint, 0) & _SECONDS) > time.time()
        packed = device << 80 | domain << 64 | since << 32 | min(until, _SECONDS)
        before = self._rows.get(fingerprint)
        self._rows[fingerprint] = packed
        return before != packed

    def replace(self, other: "PollCache") -> None:
        """Take all rows of another table at once."""
        self._rows, other._rows = other._rows, {}  # noqa: SLF001  because both are tables

    def reached_by(self, hosts: dict[str, int]) -> None:
        """Take which trust domain each host name reaches; the empty name stands for every other one."""
        self._hosts = hosts


class Answers:
    """Ready answers to an idle poll, in both forms, with jittered waiting times; made anew each second."""

    def __init__(self) -> None:
        self.factor = 1
        self.http: dict[str, list[bytes]] = {}
        self.body: list[bytes] = []
        self._turn = 0
        self.renew()

    @property
    def size(self) -> int:
        """Return how long a body is."""
        return len(self.body[0])

    def renew(self) -> None:
        """Make the answers for the next second."""
        seconds = [jittered(settings.FLEET_POLL_S * self.factor) for _ in range(VARIANTS)]
        self.body = [cbor.dumps({"next": one}) for one in seconds]
        date = formatdate(usegmt=True)
        texts = [b'{"next": %d}' % one for one in seconds]
        self.http = {
            codec.CBOR: [_response(body, codec.CBOR, date) for body in self.body],
            codec.JSON: [_response(body, codec.JSON, date) for body in texts],
        }

    def behind(self, seconds: float) -> None:
        """Hear how late the loop is: a server that cannot keep up asks its devices to come less often."""
        self.factor = next((factor for limit, factor in LATE if seconds > limit), 1)

    def next_http(self, form: str) -> bytes:
        """Return a whole HTTP response."""
        self._turn = (self._turn + 1) % VARIANTS
        return self.http[form][self._turn]

    def next_body(self) -> bytes:
        """Return a body in CBOR."""
        self._turn = (self._turn + 1) % VARIANTS
        return self.body[self._turn]


async def each_second(table: PollCache, answers: Answers, write: Callable[[], Awaitable[None]]) -> None:
    """Do for a door what is due each second, until cancelled: hand presence over, make the next answers.

    Args:
        table: whose polls were counted.
        answers: to make anew, with longer waits when the loop is late.
        write: writes presence.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 1
        await asyncio.sleep(1)
        answers.behind(loop.time() - due)
        answers.renew()
        table.hand_over(answers.size)
        await write()


def jittered(seconds: float) -> int:
    """Return a waiting time near the wished one."""
    return max(1, round(seconds * random.uniform(1 - SPREAD, 1 + SPREAD)))  # noqa: S311  because jitter is no secret


def _response(body: bytes, form: str, date: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: {form}\r\ncache-control: no-store\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
