"""Run the periodic jobs in one process: one thread per job, each run under its lease."""

import logging
import sys
import threading

from django.db import close_old_connections, connections

from fleet.jobs import leases
from fleet.jobs.leases import Leases
from fleet.jobs.table import Job, list_jobs
from pki import selectors
from pki.models import TrustDomain

_logger = logging.getLogger("muster.jobs")
#: thread switch interval: a job that computes yields to the others after this time, in seconds
SWITCH_S = 0.0005


class Runner:
    """The jobs of one worker process.

    Args:
        table: the jobs; None for all jobs.
        holder: name of this worker in leases; empty for the name of the process.
    """

    def __init__(self, table: tuple[Job, ...] | None = None, holder: str = "") -> None:
        self.stopped = threading.Event()
        self._ended = threading.Event()
        self._table = list_jobs() if table is None else table
        self._leases = Leases(holder)

    def run(self) -> None:
        """Run every job at its interval until ``stopped`` is set, then wait for running jobs."""
        # A job that writes waits for Python's GIL after each row from SQLite, while it holds SQLite's lock.
        sys.setswitchinterval(SWITCH_S)
        heartbeat = threading.Thread(target=self._beat, name="heartbeat")
        threads = [threading.Thread(target=self._loop, args=(job,), name=job.name) for job in self._table]
        for thread in (heartbeat, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        self._ended.set()
        heartbeat.join()

    def once(self, job: Job, domain: TrustDomain) -> bool:
        """Run one job for one domain if no other worker does; return whether it ran. This worker keeps the lease."""
        name = _lease_of(job, domain)
        if not self._leases.hold_lease(name):
            return False
        failure = ""
        try:
            job.run(domain)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"[:300]
            _logger.exception("a job failed", extra={"job": job.name, "trust_domain": domain.slug})
        finally:
            self._leases.note_run(name, failure)
        return True

    def _loop(self, job: Job) -> None:
        names: set[str] = set()
        while not self.stopped.is_set():
            try:
                close_old_connections()
                self._round(job, names)
            except Exception:
                _logger.exception("a job could not be started", extra={"job": job.name})
            self.stopped.wait(job.seconds)
        try:
            self._leases.give_back(*names)
        except Exception:
            _logger.exception("a lease was not released; it will expire", extra={"job": job.name})
        connections.close_all()

    def _round(self, job: Job, names: set[str]) -> None:
        """Run a job once for each domain, or once for all of them; add the names of its leases."""
        domains = selectors.list_domains()
        for domain in domains[:1] if job.server_wide else domains:
            names.add(_lease_of(job, domain))
            self.once(job, domain)

    def _beat(self) -> None:
        """Renew the leases until the last job has ended, so that a long run keeps its lease."""
        while not self._ended.wait(leases.HEARTBEAT.total_seconds()):
            try:
                close_old_connections()
                self._leases.renew_leases()
            except Exception:
                _logger.exception("leases were not renewed")
        connections.close_all()


def _lease_of(job: Job, domain: TrustDomain) -> str:
    return job.name if job.server_wide else f"{job.name}:{domain.slug}"
