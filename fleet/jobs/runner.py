"""Run the table in one process: a thread a job, each run under its lease."""

import logging
import sys
import threading
from datetime import timedelta

from django.db import close_old_connections, connections, transaction

from fleet.jobs import holders
from fleet.jobs.models import Lease
from fleet.jobs.table import Job, jobs
from pki import selectors
from pki.kernel import clock
from pki.models import TrustDomain

_logger = logging.getLogger("muster.jobs")
LEASE = timedelta(seconds=60)
#: a job that computes lets the others go on after this time
SWITCH_S = 0.0005


def forget_leases() -> None:
    """Give up all leases: after a restore they name processes that ran when the backup was made.

    Else a job that ran at that moment, the ledger's sequencer say, would stand still until its lease is over.
    """
    Lease.objects.all().delete()


class Runner:
    """The jobs of one worker process."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._holder = holders.mine()

    def run(self) -> None:
        """Run every job at its interval until ``stopped`` is set, then wait for what still runs."""
        # A job that writes waits for Python's lock after each row that SQLite gives it, while it holds SQLite's lock.
        sys.setswitchinterval(SWITCH_S)
        threads = [threading.Thread(target=self._loop, args=(job,), name=job.name) for job in jobs()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def once(self, job: Job, domain: TrustDomain) -> bool:
        """Run one job for one domain if nobody else does; return whether it ran."""
        lease = self._take(f"{job.name}:{domain.slug}")
        if lease is None:
            return False
        failure = ""
        try:
            job.run(domain)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"[:300]
            _logger.exception("a job failed", extra={"job": job.name, "trust_domain": domain.slug})
        finally:
            lease.until, lease.ran_at, lease.failure = clock.now(), clock.now(), failure
            lease.save()
        return True

    def _loop(self, job: Job) -> None:
        while not self.stopped.is_set():
            try:
                close_old_connections()
                for domain in selectors.domains():
                    self.once(job, domain)
            except Exception:
                _logger.exception("a job could not be tried", extra={"job": job.name})
            self.stopped.wait(job.seconds)
        connections.close_all()

    def _take(self, name: str) -> Lease | None:
        now = clock.now()
        with transaction.atomic():
            Lease.objects.get_or_create(job=name, defaults={"until": now})
            lease = Lease.objects.select_for_update().get(job=name)
            if lease.until > now and lease.holder != self._holder and not holders.gone(lease.holder):
                return None
            lease.holder, lease.until = self._holder, now + LEASE
            lease.save(update_fields=["holder", "until"])
        return lease
