"""The leases of one worker: acquired once, renewed by a heartbeat, lost when another worker acquires them.

Three durations apply, all by ``pki.kernel.clock``: a lease lasts ``LEASE`` and is renewed every ``HEARTBEAT``; other
workers acquire it ``SKEW`` after it expires, so that two machines whose clocks differ by less never run the same job.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, QuerySet

from fleet.jobs import holders
from fleet.jobs.models import Lease
from pki.kernel import clock

_logger = logging.getLogger("muster.jobs")
LEASE = timedelta(seconds=45)
HEARTBEAT = timedelta(seconds=15)
SKEW = timedelta(seconds=15)
#: an expiry so far in the future was written before the clock was set back
AHEAD = timedelta(minutes=10)


def forget_leases() -> None:
    """Delete all leases: after a restore they name processes from the time of the backup.

    Otherwise a job that ran at that time, such as the audit log's sequencer, would wait until its lease expires.
    """
    Lease.objects.all().delete()


def is_free(lease: Lease, now: datetime) -> bool:
    """Return whether another worker may acquire a lease: it was released, its holder has ended, or it has expired."""
    if not lease.holder or holders.is_holder_gone(lease.holder):
        return True
    return not now - SKEW < lease.until < now + AHEAD


@dataclass(slots=True)
class _Held:
    """A lease that this worker holds.

    Args:
        name: name of the lease.
        fence: its fencing number, which changes when another worker acquires the lease.
        until: its expiry, by this machine's clock.
        ran_at: end of the last run of its job.
        failure: error of that run; empty if it succeeded.
    """

    name: str
    fence: int
    until: datetime
    ran_at: datetime | None = None
    failure: str = ""

    def holds(self, now: datetime) -> bool:
        """Return whether it is certain, without a query, that no other worker has acquired this lease.

        After a clock was set back it is not certain: other workers use their own clocks.
        """
        return self.until - LEASE <= now < self.until


class Leases:
    """The leases of one worker. Thread-safe.

    Args:
        holder: unique name of the worker.
    """

    def __init__(self, holder: str = "") -> None:
        self._holder = holder or holders.own_holder()
        self._held: dict[str, _Held] = {}
        self._changing = threading.Lock()

    def hold_lease(self, name: str) -> bool:
        """Return whether this worker holds a lease now; acquire it if it is free.

        A valid lease needs no query. If a lease has expired meanwhile, because the process was stopped or could not
        renew it, the database is queried before anything runs.
        """
        held = self._held.get(name)
        if held is not None and held.holds(clock.now()):
            return True
        with self._changing:
            held = self._held.get(name)
            if held is None:
                self._take(name)
            elif not held.holds(clock.now()):
                self._renew()
            held = self._held.get(name)
            return held is not None and held.holds(clock.now())

    def note_run(self, name: str, failure: str) -> None:
        """Record how a job ended; the next heartbeat saves it, if the lease is still held."""
        if (held := self._held.get(name)) is not None:
            held.ran_at, held.failure = clock.now(), failure

    def renew_leases(self) -> None:
        """Extend every lease that is still held, in one commit; forget the ones that other workers have acquired."""
        with self._changing:
            self._renew()

    def give_back(self, *names: str) -> None:
        """Release leases immediately; the ones that other workers have acquired already are not changed."""
        with self._changing:
            for lease in [self._held.pop(name) for name in names if name in self._held]:
                self._row(lease).update(holder="", until=clock.now(), ran_at=lease.ran_at, failure=lease.failure)

    def _take(self, name: str) -> None:
        now = clock.now()
        lease = Lease.objects.filter(job=name).first()
        if lease is None:
            lease, _ = Lease.objects.get_or_create(job=name, defaults={"until": now})
        if not is_free(lease, now):
            return
        # If several workers see the same row, one of them acquires it; a renewal in between keeps the lease.
        seen = Lease.objects.filter(pk=lease.pk, holder=lease.holder, fence=lease.fence, until=lease.until)
        until = now + LEASE
        if seen.update(holder=self._holder, fence=F("fence") + 1, until=until):
            self._held[name] = _Held(name, lease.fence + 1, until, lease.ran_at, lease.failure)
            if lease.holder:
                _logger.warning("a lease was taken over", extra={"lease": name, "former_holder": lease.holder})

    def _renew(self) -> None:
        if not self._held:
            return
        until = clock.now() + LEASE  # computed before the commit, which may wait for other writers
        with transaction.atomic():
            kept = {
                value.name: self._row(value).update(until=until, ran_at=value.ran_at, failure=value.failure)
                for value in self._held.values()
            }
        for name, is_kept in kept.items():
            if is_kept:
                self._held[name].until = until
            else:
                del self._held[name]
                _logger.warning("a lease was lost to another worker", extra={"lease": name})

    def _row(self, held: _Held) -> QuerySet[Lease]:
        """Return the row of a lease, if this worker still holds it."""
        return Lease.objects.filter(job=held.name, holder=self._holder, fence=held.fence)
