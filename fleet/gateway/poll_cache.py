"""The poll cache: answers idle polls ("no pending work") from memory.

The cache contains only devices without pending work. Unknown and outdated entries take the normal path through the
protocol, which makes every decision. The cache saves work; it never grants access.
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

#: jitter of the poll interval as a share, so that devices that start together spread out
SPREAD = 0.1
VARIANTS = 16
#: delay of the event loop above which the poll interval grows, and its largest factor
LATE = ((1.0, 4), (0.25, 2))
_SECONDS = 0xFFFF_FFFF
#: largest domain id of a row; devices of further domains always take the normal path
MOST_DOMAINS = 0xFFFF


class PollCache:
    """Certificates of devices without pending work, with the validity of that fact.

    About 200 bytes per certificate: a row is one integer of device, domain, first and last second.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._hosts: dict[str, int] = {}
        self._counts: dict[int, int] = {}
        self._addresses: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def knows(self, fingerprint: bytes) -> bool:
        """Return whether a certificate has a row."""
        return fingerprint in self._rows

    def idle(self, fingerprint: bytes, host: str) -> int:
        """Return the internal id of a device without pending work, or 0 for the normal path.

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
        """Count a poll that the cache answered."""
        self._counts[device] = self._counts.get(device, 0) + 1
        self._addresses[device] = address

    def hand_over(self, size: int) -> None:
        """Pass the counts to presence; each answer had ``size`` bytes."""
        counts, addresses = self._counts, self._addresses
        self._counts, self._addresses = {}, {}
        presence.seen_often({device: (count, addresses[device]) for device, count in counts.items()}, size)

    def put(self, row: Idle) -> bool:
        """Store a row. Return whether it changed."""
        fingerprint, device, domain, since, until = row
        if not until or domain > MOST_DOMAINS:
            return (self._rows.pop(fingerprint, 0) & _SECONDS) > time.time()
        packed = device << 80 | domain << 64 | since << 32 | min(until, _SECONDS)
        before = self._rows.get(fingerprint)
        self._rows[fingerprint] = packed
        return before != packed

    def replace(self, other: "PollCache") -> None:
        """Replace all rows with those of another cache."""
        self._rows, other._rows = other._rows, {}  # noqa: SLF001  because both have the same class

    def reached_by(self, hosts: dict[str, int]) -> None:
        """Store the trust domain of each host name; the empty name is the default."""
        self._hosts = hosts


class Answers:
    """Prepared answers to an idle poll in both formats, with jittered intervals; rebuilt every second."""

    def __init__(self) -> None:
        self.factor = 1
        self.http: dict[str, list[bytes]] = {}
        self.body: list[bytes] = []
        self._turn = 0
        self.renew()

    @property
    def size(self) -> int:
        """Return the length of a body."""
        return len(self.body[0])

    def renew(self) -> None:
        """Build the answers for the next second."""
        seconds = [jitter_seconds(settings.FLEET_POLL_S * self.factor) for _ in range(VARIANTS)]
        self.body = [cbor.dumps({"next": number}) for number in seconds]
        date = formatdate(usegmt=True)
        texts = [b'{"next": %d}' % number for number in seconds]
        self.http = {
            codec.CBOR: [_response(body, codec.CBOR, date) for body in self.body],
            codec.JSON: [_response(body, codec.JSON, date) for body in texts],
        }

    def behind(self, seconds: float) -> None:
        """Report the delay of the event loop. An overloaded server lengthens the poll interval of its devices."""
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
    """Run the periodic work of a listener until cancelled: write presence, build the next answers.

    Args:
        table: poll cache with the counts.
        answers: answers to rebuild, with longer intervals when the loop is late.
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


def jitter_seconds(seconds: float) -> int:
    """Return an interval near the given one."""
    return max(1, round(seconds * random.uniform(1 - SPREAD, 1 + SPREAD)))  # noqa: S311  because jitter needs no secure randomness


def _response(body: bytes, form: str, date: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: {form}\r\ncache-control: no-store\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
