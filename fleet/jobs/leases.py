"""The leases of one worker: taken once, renewed by a heartbeat, lost for good when another worker takes them.

Three times decide, all by ``pki.kernel.clock``: a lease lasts ``LEASE`` and is renewed every ``HEARTBEAT``; others take
it ``SKEW`` after its end, so that clocks of two machines that differ by less never let both of them run a job.
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
#: an end that lies so far ahead was written by a clock that has been set back since
AHEAD = timedelta(minutes=10)


def forget_leases() -> None:
    """Give up all leases: after a restore they name processes that ran when the backup was made.

    Else a job that ran at that moment, the ledger's sequencer say, would stand still until its lease is over.
    """
    Lease.objects.all().delete()


def is_free(lease: Lease, now: datetime) -> bool:
    """Say whether another worker may take a lease: given back, its holder has ended, or it was not renewed in time."""
    if not lease.holder or holders.gone(lease.holder):
        return True
    return not now - SKEW < lease.until < now + AHEAD


@dataclass(slots=True)
class _Held:
    """A lease as this worker holds it.

    Args:
        name: of the lease.
        fence: its fencing number; a lease that was taken over has another one.
        until: when it ends, by this machine's clock.
        ran_at: when its job last ended.
        failure: how that run failed; empty: it did not.
    """

    name: str
    fence: int
    until: datetime
    ran_at: datetime | None = None
    failure: str = ""

    def holds(self, now: datetime) -> bool:
        """Say whether it is certain, without the database, that nobody has taken this lease over.

        After a clock was set back, it is not: others look at theirs.
        """
        return self.until - LEASE <= now < self.until


class Leases:
    """What one worker holds. Safe from several threads.

    Args:
        holder: name of the worker that no other one ever has.
    """

    def __init__(self, holder: str = "") -> None:
        self._holder = holder or holders.mine()
        self._held: dict[str, _Held] = {}
        self._changing = threading.Lock()

    def hold_lease(self, name: str) -> bool:
        """Say whether this worker holds a lease now; take it if it is free.

        A lease that is held costs no look at the database. One that has ended meanwhile, because the process was
        stopped or could not renew it, is asked for there before anything runs.
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
        """Note how a job ended; the next heartbeat saves it, if the lease is still held."""
        if (held := self._held.get(name)) is not None:
            held.ran_at, held.failure = clock.now(), failure

    def renew_leases(self) -> None:
        """Extend every lease that is still held, in one commit; forget those that others have taken."""
        with self._changing:
            self._renew()

    def give_back(self, *names: str) -> None:
        """Let others take leases at once; those that they have taken already stay theirs."""
        with self._changing:
            for one in [self._held.pop(name) for name in names if name in self._held]:
                self._row(one).update(holder="", until=clock.now(), ran_at=one.ran_at, failure=one.failure)

    def _take(self, name: str) -> None:
        now = clock.now()
        lease = Lease.objects.filter(job=name).first()
        if lease is None:
            lease, _ = Lease.objects.get_or_create(job=name, defaults={"until": now})
        if not is_free(lease, now):
            return
        # Of those who saw the same row one gets it; a renewal in between keeps it.
        seen = Lease.objects.filter(pk=lease.pk, holder=lease.holder, fence=lease.fence, until=lease.until)
        until = now + LEASE
        if seen.update(holder=self._holder, fence=F("fence") + 1, until=until):
            self._held[name] = _Held(name, lease.fence + 1, until, lease.ran_at, lease.failure)
            if lease.holder:
                _logger.warning("a lease was taken over", extra={"lease": name, "former_holder": lease.holder})

    def _renew(self) -> None:
        if not self._held:
            return
        until = clock.now() + LEASE  # before the commit, which may wait for other writers
        with transaction.atomic():
            kept = {
                one.name: self._row(one).update(until=until, ran_at=one.ran_at, failure=one.failure)
                for one in self._held.values()
            }
        for name, is_kept in kept.items():
            if is_kept:
                self._held[name].until = until
            else:
                del self._held[name]
                _logger.warning("a lease was lost to another worker", extra={"lease": name})

    def _row(self, held: _Held) -> QuerySet[Lease]:
        """Return the row of a lease, as long as it is this worker's."""
        return Lease.objects.filter(job=held.name, holder=self._holder, fence=held.fence)
