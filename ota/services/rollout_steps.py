"""Prepare, open and abort rollouts of any size in small commits (decision 0013).

A step is a state of the rollout or of a wave that is written first: ``preparing``, ``opening``, ``aborting``. Each
commit handles a bounded number of devices and checks that state under the rollout's lock, so that a step can be
interrupted or taken over after any commit, and two processes at the same step do no harm.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

from django.db import connection, transaction
from django.db.models import Count, Q, QuerySet

from ota import planning
from ota.models import Assignment, Rollout, Wave
from ota.selectors import participants
from ota.selectors.running import RunningBundles
from ota.selectors.status_counts import count_by_rollout, count_by_wave
from ota.services import assignment_batches as batches
from ota.services.pace import ReadAhead, TransactionPace
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.models import TrustDomain, prepared_sql
from pki.models.json_members import member_of
from pki.services import ledger, numbers

State, Status = Rollout.State, Assignment.Status
#: a step of at most so many devices is finished within the call that began it
AT_ONCE = 1000
#: who prepares a rollout and wrote nothing for so long has ended
SILENT = timedelta(seconds=15)
#: longest run of the job; the next run continues
SECONDS = 20.0
#: SQLite has one writer: a waiting one retries every 4 ms at the latest (`fleet.sqlite`), between two commits
PAUSE = 0.005
#: action numbers are reserved for so many devices at once
RESERVED = 5000
#: what a device reports of a component, as far as it says which bundle that is
RUNS, TEXTS = ("sha256", "version", "counter"), {"sha256", "version"}
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class StepBudget:
    """Limit of one call.

    Args:
        commits: remaining transactions; None for no limit.
        until: monotonic time after which no transaction begins.
    """

    commits: int | None = None
    until: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def spend(self) -> bool:
        """Return whether another commit is allowed, and count it."""
        if self.commits is not None:
            self.commits -= 1
            return self.commits >= 0
        return time.monotonic() < self.until


def continue_steps(*, domain: TrustDomain, budget: StepBudget | None = None) -> None:
    """Continue every step of a domain that is not finished (a leased job)."""
    actor, spent = actors.system_actor(domain.slug, "rollouts"), budget or StepBudget()
    for rollout in _unfinished(domain):
        try:
            advance_rollout(actor, rollout, spent)
        except Exception:
            # The next run tries again; one rollout that cannot go on does not stop the others.
            _logger.exception("a step of a rollout failed", extra={"rollout": rollout.name})


def advance_rollout(actor: Actor, rollout: Rollout, budget: StepBudget) -> None:
    """Continue the current step of a rollout within the budget."""
    if rollout.state == State.PREPARING:
        _prepare(actor, rollout, budget)
    elif rollout.state == State.ABORTING:
        _abort(actor, rollout, budget)
    elif wave := rollout.waves.filter(state=Wave.State.OPENING).first():
        _open(actor, rollout, wave, budget)


def _unfinished(domain: TrustDomain) -> list[Rollout]:
    now = clock.now()
    # What was written after this clock was read, or by a clock that goes a little ahead, is fresh; what a clock that
    # was set back left far in the future is not.
    fresh = Q(state=State.PREPARING, planned_at__gt=now - SILENT, planned_at__lt=now + SILENT)
    opening = Q(state=State.RUNNING, waves__state=Wave.State.OPENING)
    rows = Rollout.objects.filter(Q(state__in=[State.PREPARING, State.ABORTING]) | opening, domain=domain)
    rollouts = rows.exclude(fresh).select_related("release__bundle", "domain").defer("excluded")
    return list(rollouts.distinct().order_by("id"))


def claim_preparation(rollout: Rollout) -> bool:
    """Take over the preparation of a rollout; return whether it is still pending. The previous worker stops."""
    rollout.planner, rollout.planned_at = secrets.token_hex(16), clock.now()
    rows = Rollout.objects.filter(pk=rollout.pk, state=State.PREPARING)
    return rows.update(planner=rollout.planner, planned_at=rollout.planned_at) == 1


def _prepare(actor: Actor, rollout: Rollout, budget: StepBudget) -> None:
    if claim_preparation(rollout):
        try:
            chosen = participants.choose_participants(rollout, between=lambda: _still_here(rollout))
        except InvalidError as error:
            # The target names something that was deleted after the rollout was created.
            _give_up(actor, rollout, error.detail)
            return
        # Even if the selection took long: a run that never writes would start over forever.
        fill_waves(actor, rollout, chosen, StepBudget(budget.commits))


def _still_here(rollout: Rollout) -> None:
    """Record that the preparation is in progress, every few seconds."""
    if rollout.planned_at is None or clock.now() - rollout.planned_at > SILENT / 5:
        rollout.planned_at = clock.now()
        Rollout.objects.filter(pk=rollout.pk, planner=rollout.planner).update(planned_at=rollout.planned_at)


def fill_waves(actor: Actor, rollout: Rollout, chosen: participants.Participants, budget: StepBudget) -> None:
    """Assign the chosen devices to waves, except those that an earlier attempt assigned."""
    waves = list(rollout.waves.order_by("index"))
    counts = dict(rollout.assignments.order_by().values_list("wave_id").annotate(devices=Count("id")))
    there = set(rollout.assignments.values_list("device_id", flat=True))
    order = [pk for pk in chosen.order if pk not in there]
    if not order and not there:
        _give_up(actor, rollout, chosen.nobody)
        return
    Rollout.objects.filter(pk=rollout.pk, planner=rollout.planner).update(targets=len(order) + len(there))
    plans = [planning.WavePlan(one.count, one.share, one.soak_s) for one in waves]
    spread = planning.spread_order(order, plans, [counts.get(one.pk, 0) for one in waves])
    pairs = [(wave.pk, device) for wave, devices in zip(waves, spread, strict=True) for device in devices]
    taken, pace, done = _numbers(rollout, len(pairs)), TransactionPace(batches.PLANNED), 0
    while placed := pairs[done : done + pace.devices]:
        if not budget.spend():
            _let_go(rollout)
            return
        done += len(placed)
        ready = batches.plan_assignments(rollout, placed, list(islice(taken, len(placed))))
        with _commit(pace):
            if not _mine(rollout):
                return
            prepared_sql.write_many(ready)
    _prepared(actor, rollout, chosen)


def _numbers(rollout: Rollout, many: int) -> Iterator[int]:
    """Yield action numbers, reserved in blocks; those of a block that a crash leaves unused are lost."""
    for start in range(0, many, RESERVED):
        block = min(RESERVED, many - start)
        yield from numbers.reserve_small(domain=rollout.domain, name="ddi-action", many=block)


def _mine(rollout: Rollout) -> bool:
    """Lock a rollout and return whether this process still prepares it; the lock lasts until the transaction ends."""
    locked = _locked(rollout)
    if (locked.state, locked.planner) != (State.PREPARING, rollout.planner):
        return False
    Rollout.objects.filter(pk=rollout.pk).update(planned_at=clock.now())
    return True


def _let_go(rollout: Rollout) -> None:
    """Let the next run of the job continue without waiting."""
    Rollout.objects.filter(pk=rollout.pk, planner=rollout.planner).update(planned_at=None)


def _prepared(actor: Actor, rollout: Rollout, chosen: participants.Participants) -> None:
    with transaction.atomic():
        if not _mine(rollout):
            return
        facts = {"state": State.DRAFT, "excluded": chosen.excluded, "planner": "", "planned_at": None}
        devices = count_by_rollout([rollout])[rollout.pk].total()
        Rollout.objects.filter(pk=rollout.pk).update(targets=devices, **facts)
        detail = {"devices": devices, "excluded": sum(value[0] for value in chosen.others.values())}
        _record(actor, rollout, "rollout.prepared", detail)


def _give_up(actor: Actor, rollout: Rollout, reason: str) -> None:
    with transaction.atomic():
        if _mine(rollout):
            facts = {"state": State.ABORTED, "hold_reason": reason[:300], "finished_at": clock.now(), "planner": ""}
            Rollout.objects.filter(pk=rollout.pk).update(**facts)
            _record(actor, rollout, "rollout.aborted", {"reason": reason[:200]})


def open_wave(actor: Actor, wave: Wave) -> None:
    """Begin to offer a wave; a small one is open when this returns."""
    with transaction.atomic():
        rollout = _locked(wave.rollout)
        waiting = Wave.objects.filter(pk=wave.pk, state=Wave.State.WAITING)
        if rollout.state != State.RUNNING or not waiting.update(state=Wave.State.OPENING):
            return
    if wave.assignments.values("pk")[: AT_ONCE + 1].count() <= AT_ONCE:
        _open(actor, wave.rollout, wave, StepBudget())


def _open(actor: Actor, rollout: Rollout, wave: Wave, budget: StepBudget) -> None:
    bundle, pace = rollout.release.bundle, TransactionPace(batches.OFFERED)
    running = RunningBundles(rollout.domain_id, {bundle.component})
    # A whole report has up to 20 KB, and thousands are read ahead.
    path = ("device__twin__reported", "components", bundle.component)
    said = {name: member_of(*path, name, text=name in TEXTS) for name in RUNS}
    waiting = ReadAhead(wave.assignments.filter(status=Status.WAITING).annotate(**said), "id", *RUNS)
    while page := waiting.first(pace.devices):
        previous = {pk: running.named(bundle.component, *told) for pk, *told in page}
        if not budget.spend():
            return
        with _commit(pace):
            if not _opens(rollout, wave):
                return
            last = batches.offer_batch(actor, bundle, previous)
        waiting.done(last)
    _opened(actor, rollout, wave)


def _opens(rollout: Rollout, wave: Wave) -> bool:
    """Lock a rollout and return whether the wave may continue to open: a hold, pause or abort stops it."""
    running = _locked(rollout).state == State.RUNNING
    return running and Wave.objects.filter(pk=wave.pk, state=Wave.State.OPENING).exists()


def _opened(actor: Actor, rollout: Rollout, wave: Wave) -> None:
    with transaction.atomic():
        if not _opens(rollout, wave):
            return
        Wave.objects.filter(pk=wave.pk).update(state=Wave.State.OPEN, opened_at=clock.now())
        devices = count_by_wave([rollout])[wave.pk].total()
        detail = {"wave": wave.index + 1, "label": wave.label, "devices": devices}
        _record(actor, rollout, "rollout.wave-opened", detail)


def begin_abort(actor: Actor, rollout: Rollout) -> None:
    """Begin to cancel what is open; a small rollout is aborted when this returns."""
    if _open_ones(rollout).values("pk")[: AT_ONCE + 1].count() <= AT_ONCE:
        _abort(actor, rollout, StepBudget())


def _abort(actor: Actor, rollout: Rollout, budget: StepBudget) -> None:
    pace, open_ones = TransactionPace(batches.CANCELED), ReadAhead(_open_ones(rollout), "id")
    while page := open_ones.first(pace.devices):
        if not budget.spend():
            return
        with _commit(pace):
            if _locked(rollout).state != State.ABORTING:
                return
            batches.cancel_assignments([key for (key,) in page])
        open_ones.done(page[-1][0])
    with transaction.atomic():
        if _locked(rollout).state == State.ABORTING:
            Rollout.objects.filter(pk=rollout.pk).update(state=State.ABORTED, finished_at=clock.now())
            Wave.objects.filter(rollout=rollout, state=Wave.State.OPENING).update(state=Wave.State.OPEN)
            counts = count_by_rollout([rollout])[rollout.pk]
            detail = {"canceled": counts[Status.CANCELED] + counts[Status.CANCELING]}
            _record(actor, rollout, "rollout.aborted", detail)


def _open_ones(rollout: Rollout) -> QuerySet[Assignment]:
    # With the domain, because the index of a rollout begins with it.
    rows = rollout.assignments.filter(domain=rollout.domain_id, closed_at__isnull=True)
    return rows.exclude(status=Status.CANCELING)


def _locked(rollout: Rollout) -> Rollout:
    """Return the rollout as it is now, locked until the transaction ends; its own key stays usable to others."""
    return Rollout.objects.select_for_update(no_key=True).defer("excluded").get(pk=rollout.pk)


def _record(actor: Actor, rollout: Rollout, action: str, detail: Mapping[str, object]) -> None:
    ledger.record(actor=actor, action=action, thing=("rollout", rollout.public_id), detail=detail)


@contextmanager
def _commit(pace: TransactionPace) -> Iterator[None]:
    """Run one short transaction, then let other writers proceed."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        # From here on SQLite's only writer is this one: the time before was spent waiting for others.
        began, worked = time.monotonic(), time.thread_time()
        yield
    took, worked = time.monotonic() - began, time.thread_time() - worked
    pace.took(took)
    _logger.debug("commit", extra={"ms": round(took * 1000, 1), "cpu_ms": round(worked * 1000, 1)})
    if not nested and connection.vendor == "sqlite":
        time.sleep(PAUSE)
