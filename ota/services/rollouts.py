"""Create, start, hold and finish rollouts. ``STEPS`` is the only definition of allowed transitions."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from devices import query
from ota import planning
from ota.models import Assignment, Release, Rollout, Wave
from ota.planning import Thresholds, WavePlan, WaveTally
from ota.selectors import eligibility, participants, signed
from ota.selectors.participants import Participants
from ota.selectors.status_counts import count_by_wave
from ota.services import rollout_steps
from pki.kernel import actor as actors
from pki.kernel import clock, ids
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, InvalidError
from pki.kernel.permissions import Action, require_action, require_on
from pki.models import TrustDomain
from pki.selectors import get_domain as domain_of
from pki.services import ledger

State = Rollout.State
#: a longer gap between two looks at a wave does not count as soaking
LOOKED_AWAY = timedelta(seconds=5)
#: action -> (states it starts from, state it leads to)
STEPS: dict[str, tuple[frozenset[str], str]] = {
    "start": (frozenset({State.DRAFT}), State.RUNNING),
    "pause": (frozenset({State.RUNNING, State.HELD}), State.PAUSED),
    "resume": (frozenset({State.PAUSED, State.HELD}), State.RUNNING),
    "hold": (frozenset({State.RUNNING}), State.HELD),
    "abort": (frozenset({State.PREPARING, State.DRAFT, State.RUNNING, State.HELD, State.PAUSED}), State.ABORTING),
    "finish": (frozenset({State.RUNNING}), State.FINISHED),
}
_RIGHTS = {
    "start": Action.START_ROLLOUT,
    "pause": Action.PAUSE_ROLLOUT,
    "resume": Action.RESUME_ROLLOUT,
    "hold": Action.HOLD_ROLLOUT,
    "abort": Action.ABORT_ROLLOUT,
    "finish": Action.FINISH_ROLLOUT,
}


def create(
    *,
    actor: Actor,
    name: str,
    release: Release,
    waves: Sequence[WavePlan],
    thresholds: Thresholds = Thresholds(),  # noqa: B008  because it is frozen
    target: str = "",
) -> Rollout:
    """Plan a rollout of a published release to every device that it is for; nothing is offered yet.

    With many devices the rollout is returned while it is preparing; a job adds them in small commits.

    Args:
        actor: an operator.
        name: unique in the domain.
        release: to bring out.
        waves: in their order.
        thresholds: when the next wave opens, and how many failures are borne.
        target: a query (``devices.query``); only devices that match it now take part.

    Raises:
        ConflictError: the name is taken, or the release is not published.
        InvalidError: the waves make no sense.
    """
    require_action(actor, Action.CREATE_ROLLOUT)
    planning.check_plan(waves, thresholds.success_permille, thresholds.error_permille)
    query.parse_query(target, Q(domain__slug=actor.domain))
    _demand_sense(name, release)
    rollout = Rollout(
        domain=domain_of(actor.domain),
        name=name,
        release=release,
        state=State.PREPARING,
        success_permille=thresholds.success_permille,
        error_permille=thresholds.error_permille,
        target=target.strip(),
        created_by=f"{actor.kind}:{actor.key}",
    )
    return _begin(actor, rollout, waves)


def _chosen_at_once(rollout: Rollout) -> Participants | None:
    """Return the devices of a small rollout; None if the job must choose them.

    Raises:
        ConflictError: no device is eligible.
    """
    if (
        participants.rollout_candidates(rollout).values("pk")[: rollout_steps.AT_ONCE + 1].count()
        > rollout_steps.AT_ONCE
    ):
        return None
    chosen = participants.choose_participants(rollout)
    if not chosen.ranked:
        raise ConflictError(chosen.nobody)
    return chosen


def _demand_free(domain: TrustDomain, name: str) -> None:
    if Rollout.objects.filter(domain=domain, name=name).exists():
        msg = f"A rollout named {name} already exists."
        raise ConflictError(msg)


def _begin(actor: Actor, rollout: Rollout, waves: Sequence[WavePlan]) -> Rollout:
    """Write a rollout that is preparing; add its devices at once if they are few."""
    chosen = _chosen_at_once(rollout)
    with transaction.atomic():
        _demand_free(rollout.domain, rollout.name)
        rollout.planned_at = clock.now() if chosen else None
        rollout.save()
        for index, plan in enumerate(waves):
            facts = {"label": plan.label, "count": plan.count, "share": plan.share, "soak_s": plan.soak_s}
            Wave.objects.create(rollout=rollout, index=index, **facts)
        detail = {"release": str(rollout.release.public_id), "name": rollout.name, "target": rollout.target}
        ledger.record(actor=actor, action="rollout.created", thing=("rollout", rollout.public_id), detail=detail)
    if chosen and rollout_steps.claim_preparation(rollout):
        rollout_steps.fill_waves(actor, rollout, chosen, rollout_steps.StepBudget())
    rollout.refresh_from_db()
    return rollout


def start(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Open the first wave."""
    return _step("start", actor, rollout)


def pause(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Offer nothing new until it is resumed; updates in progress continue."""
    return _step("pause", actor, rollout)


def resume(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Continue after a pause or a hold."""
    return _step("resume", actor, rollout)


def hold(*, actor: Actor, rollout: Rollout, reason: str, key: str = "") -> Rollout:
    """Stop offering because of a problem; a rollout that is not running stays unchanged."""
    if rollout.state != State.RUNNING:
        return rollout
    return _step("hold", actor, rollout, reason, key)


def abort(*, actor: Actor, rollout: Rollout) -> Rollout:
    """End a rollout permanently: open assignments are canceled, devices keep their current version.

    With many open assignments the rollout is returned while it is aborting; a job cancels them in small commits.
    Nothing that has not begun is offered from now on.
    """
    rollout = _step("abort", actor, rollout)
    rollout_steps.begin_abort(actor, rollout)
    rollout.refresh_from_db()
    return rollout


def tick(*, domain: TrustDomain) -> None:
    """Check every running rollout of a domain: open, hold or finish it (a leased job)."""
    actor = actors.system_actor(domain.slug, "rollouts")
    rows = Rollout.objects.filter(domain=domain, state=State.RUNNING).select_related("domain", "release__bundle")
    for rollout in rows.defer("excluded"):
        if why := eligibility.rollout_reason(rollout.release.bundle):
            hold(actor=actor, rollout=rollout, reason=why.sentence, key="fit")
        else:
            _advance(actor, rollout)


def _demand_sense(name: str, release: Release) -> None:
    if not 0 < len(name.strip()) <= 100:  # noqa: PLR2004  because the column has 100
        msg = "A rollout needs a name of at most 100 characters."
        raise InvalidError(msg)
    ids.check_not_uuid(name)
    if release.state != Release.State.PUBLISHED:
        msg = "Only a published release can be rolled out. Two officers must sign it first."
        raise ConflictError(msg)
    if why := signed.blanket_refusal(release.bundle):
        msg = f"{release.bundle} cannot be rolled out: {why}."
        raise ConflictError(msg)


def _advance(actor: Actor, rollout: Rollout) -> None:
    wave = rollout.waves.exclude(state=Wave.State.DONE).first()
    if wave is None:
        _step("finish", actor, rollout)
        return
    if wave.state == Wave.State.WAITING:
        rollout_steps.open_wave(actor, wave)
    if wave.state in {Wave.State.WAITING, Wave.State.OPENING}:
        return
    opened = _observed(wave)
    verdict = planning.judge_wave(
        _tally(rollout, wave),
        rollout.success_permille,
        rollout.error_permille,
        opened,
        wave.soak_s,
        clock.now(),
    )
    if verdict.hold:
        hold(actor=actor, rollout=rollout, reason=verdict.reason, key="gate")
    elif verdict.done:
        wave.state = Wave.State.DONE
        wave.done_at = clock.now()
    wave.gate = verdict.reason[:300]
    wave.save(update_fields=["state", "gate", "opened_at", "checked_at", "done_at"])


def _observed(wave: Wave) -> datetime:
    """Return since when the wave soaks; time during which the server was down does not count."""
    now = clock.now()
    opened, checked = wave.opened_at or now, wave.checked_at or now
    if now - checked > LOOKED_AWAY:
        opened += now - checked
    wave.opened_at, wave.checked_at = opened, now
    return opened


def _tally(rollout: Rollout, wave: Wave) -> WaveTally:
    status = Assignment.Status
    by_wave = count_by_wave([rollout])
    counted = by_wave[wave.pk]
    return WaveTally(
        devices=counted.total(),
        finished=counted[status.FINISHED],
        failed=counted[status.ERROR] + counted[status.CANCELED],
        errors=sum(value[status.ERROR] for value in by_wave.values()),
        targets=rollout.targets or sum(value.total() for value in by_wave.values()),
    )


def _step(act: str, actor: Actor, rollout: Rollout, reason: str = "", key: str = "") -> Rollout:
    sources, target = STEPS[act]
    with transaction.atomic():
        locked = require_on(actor, _RIGHTS[act], Rollout.objects.select_for_update(of=("self",)), rollout)
        if locked.state not in sources:
            names = " or ".join(sorted(sources))
            msg = f"The action {act} requires a rollout that is {names}; this one is {locked.state}."
            raise ConflictError(msg)
        locked.state = target
        locked.hold_reason, locked.hold_key = reason[:300], key[:60]
        if act == "start":
            locked.started_at = clock.now()
        if target == State.FINISHED:
            locked.finished_at = clock.now()
        locked.save()
        detail = {"reason": reason[:200]} if reason else {}
        ledger.record(actor=actor, action=f"rollout.{act}", thing=("rollout", locked.public_id), detail=detail)
    return locked
