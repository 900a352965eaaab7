"""Create, start, hold and finish rollouts. ``STEPS`` is the only truth about what may follow what."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from devices import query
from devices.models import Device, HardwareModel
from devices.selectors import devices as devices_of
from ota import planning
from ota.models import Assignment, Bundle, Release, Rollout, Wave
from ota.planning import PERMILLE, Tally, Thresholds, WavePlan
from ota.selectors import fitting, parts
from ota.selectors.rollouts import rollout as rollout_of
from ota.selectors.rollouts import running_bundle
from ota.services import assignments
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.actor import Actor, Role
from pki.kernel.errors import ConflictError, InvalidError
from pki.models import TrustDomain
from pki.selectors import domain as domain_of
from pki.services import ledger

State = Rollout.State
#: a longer gap between two looks at a wave does not count as soaking
LOOKED_AWAY = timedelta(seconds=5)
#: act -> (states it starts from, state it leads to)
STEPS: dict[str, tuple[frozenset[str], str]] = {
    "start": (frozenset({State.DRAFT}), State.RUNNING),
    "pause": (frozenset({State.RUNNING, State.HELD}), State.PAUSED),
    "resume": (frozenset({State.PAUSED, State.HELD}), State.RUNNING),
    "hold": (frozenset({State.RUNNING}), State.HELD),
    "abort": (frozenset({State.DRAFT, State.RUNNING, State.HELD, State.PAUSED}), State.ABORTED),
    "finish": (frozenset({State.RUNNING}), State.FINISHED),
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
    actor.require(Role.OPERATOR)
    planning.check(waves, thresholds.success_permille, thresholds.error_permille)
    _demand_sense(name, release, target)
    with transaction.atomic():
        domain = domain_of(actor.domain)
        _demand_free(domain, name)
        rollout = Rollout.objects.create(
            domain=domain,
            name=name,
            release=release,
            success_permille=thresholds.success_permille,
            error_permille=thresholds.error_permille,
            target=target.strip(),
            created_by=f"{actor.kind}:{actor.key}",
        )
        _plan(actor, rollout, waves)
    return rollout


def _demand_free(domain: TrustDomain, name: str) -> None:
    if Rollout.objects.filter(domain=domain, name=name).exists():
        msg = f"There is a rollout {name} already."
        raise ConflictError(msg)


def _plan(actor: Actor, rollout: Rollout, waves: Sequence[WavePlan]) -> None:
    for index, plan in enumerate(waves):
        Wave.objects.create(rollout=rollout, index=index, label=plan.label, soak_s=plan.soak_s)
    _spread(rollout, waves)
    detail = {"release": str(rollout.release.public_id), "name": rollout.name, "target": rollout.target}
    ledger.record(actor=actor, action="rollout.created", thing=("rollout", rollout.public_id), detail=detail)


def start(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Open the first wave."""
    return _step("start", actor, rollout)


def pause(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Offer nothing new until it is resumed; what has begun goes on."""
    return _step("pause", actor, rollout)


def resume(*, actor: Actor, rollout: Rollout) -> Rollout:
    """Go on after a pause or a hold."""
    return _step("resume", actor, rollout)


def hold(*, actor: Actor, rollout: Rollout, reason: str, key: str = "") -> Rollout:
    """Stop offering because something looks wrong; a rollout that is not running is left as it is."""
    if rollout.state != State.RUNNING:
        return rollout
    return _step("hold", actor, rollout, reason, key)


def abort(*, actor: Actor, rollout: Rollout) -> Rollout:
    """End a rollout for good: open assignments are canceled, devices keep what they run."""
    with transaction.atomic():
        rollout = _step("abort", actor, rollout)
        for assignment in rollout.assignments.select_related("device").filter(closed_at__isnull=True):
            assignments.cancel(actor=actor, assignment=assignment)
    return rollout


def tick(*, domain: TrustDomain) -> None:
    """Look at every running rollout of a domain: open, hold or finish (a leased job)."""
    actor = actors.system(domain.slug, "rollouts")
    for rollout in Rollout.objects.filter(domain=domain, state=State.RUNNING).select_related(
        "domain", "release__bundle"
    ):
        with transaction.atomic():
            if why := _hindrance(rollout.release.bundle):
                hold(actor=actor, rollout=rollout, reason=why, key="fit")
            else:
                _advance(actor, rollout)


def _demand_sense(name: str, release: Release, target: str) -> None:
    query.parse(target)
    if not 0 < len(name.strip()) <= 100:  # noqa: PLR2004  because the column has 100
        msg = "A rollout needs a name of at most 100 characters."
        raise InvalidError(msg)
    if release.state != Release.State.PUBLISHED:
        msg = "Only a published release can be rolled out; two officers must sign it first."
        raise ConflictError(msg)


def _advance(actor: Actor, rollout: Rollout) -> None:
    wave = rollout.waves.exclude(state=Wave.State.DONE).first()
    if wave is None:
        _step("finish", actor, rollout)
        return
    if wave.state == Wave.State.WAITING:
        _open(actor, wave)
        return
    opened = _observed(wave)
    verdict = planning.gate(
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
    wave.save()


def _observed(wave: Wave) -> datetime:
    """Return since when the wave soaks; time in which nobody looked, because the server was down, does not count."""
    now = clock.now()
    opened, checked = wave.opened_at or now, wave.checked_at or now
    if now - checked > LOOKED_AWAY:
        opened += now - checked
    wave.opened_at, wave.checked_at = opened, now
    return opened


def _open(actor: Actor, wave: Wave) -> None:
    wave.state = Wave.State.OPEN
    wave.opened_at = clock.now()
    wave.save(update_fields=["state", "opened_at"])
    rows = wave.assignments.filter(status=Assignment.Status.WAITING)
    for assignment in rows.select_related("device__twin", "device__domain", "bundle"):
        assignments.offer(actor=actor, assignment=assignment)
    detail = {"wave": wave.index + 1, "label": wave.label}
    ledger.record(actor=actor, action="rollout.wave-opened", thing=("rollout", wave.rollout.public_id), detail=detail)


def _tally(rollout: Rollout, wave: Wave) -> Tally:
    status = Assignment.Status
    failed = [status.ERROR, status.CANCELED]
    return Tally(
        devices=wave.assignments.count(),
        finished=wave.assignments.filter(status=status.FINISHED).count(),
        failed=wave.assignments.filter(status__in=failed).count(),
        errors=rollout.assignments.filter(status=status.ERROR).count(),
        targets=rollout.assignments.count(),
    )


def _spread(rollout: Rollout, waves: Sequence[WavePlan]) -> None:
    """Decide who takes part, and in which wave; note why others do not."""
    bundle = rollout.release.bundle
    whole = parts.whole(bundle)
    chosen: dict[str, Device] = {}
    excluded: dict[str, list[str]] = {}
    hardware = {model.pk: _misfit(bundle, model) for model in bundle.hardware_models.all()}
    wanted = devices_of(rollout.domain.slug).filter(query.parse(rollout.target))
    for device in wanted.exclude(state=Device.State.RETIRED):
        reason = _unfit(device, hardware, whole)
        if reason:
            excluded.setdefault(reason, []).append(device.name)
        else:
            chosen[device.name] = device
    if not chosen:
        why = "; ".join(f"{len(names)} because {reason}" for reason, names in excluded.items())
        msg = f"No device is left to roll out to: {why or 'none is enrolled'}."
        raise ConflictError(msg)
    spread = planning.assign(rollout.name, sorted(chosen), waves)
    for wave, names in zip(rollout.waves.all(), spread, strict=True):
        for name in names:
            assignments.schedule(rollout=rollout, wave=wave, device=chosen[name], bundle=bundle)
    rollout.excluded = {
        reason: {"count": len(names), "devices": names[:PERMILLE]} for reason, names in excluded.items()
    }
    rollout.save(update_fields=["excluded"])


def _hindrance(bundle: Bundle) -> str:
    """Return why a model or composite cannot go on: what a firmware can run may change, a part may be withdrawn."""
    if bundle.kind not in {Bundle.Kind.MODEL, Bundle.Kind.COMPOSITE}:
        return ""
    whole = parts.whole(bundle)
    if gone := next((one for one in whole[1:] if one.release.state != Release.State.PUBLISHED), None):
        return f"its part {gone} was withdrawn"
    known = fitting.released(bundle.domain.slug)
    models = [one for one in whole if one.kind == Bundle.Kind.MODEL]
    misfits = (_misfit(one, model, known) for model in bundle.hardware_models.all() for one in models)
    found = next(filter(None, misfits), "")
    return f"the bundle does not fit {found}" if found else ""


def _misfit(bundle: Bundle, model: HardwareModel, known: fitting.Released | None = None) -> str:
    """Return why a bundle does not fit a hardware model as it is now, or nothing."""
    return "; ".join(f"{model.name}: {one.sentence()}" for one in fitting.reasons(bundle, model, known))


def _unfit(device: Device, hardware: Mapping[int, str], whole: Sequence[Bundle]) -> str:
    """Return why a device takes no part, or nothing.

    Args:
        device: with its twin.
        hardware: internal id of a hardware model to why the bundle does not fit it.
        whole: the bundle, and its parts if it is a composite.
    """
    if device.hardware_model_id not in hardware:
        return "the bundle is not for this hardware"
    if misfit := hardware[device.hardware_model_id]:
        return f"the bundle does not fit {misfit}"
    if shut := _shut_out(device, whole[0]):
        return shut
    if missing := _beside(device, whole[0]):
        return missing
    runs = all(running is not None and running.pk == one.pk for one, running in _running(device, whole))
    return "it runs this version already" if runs else ""


def _shut_out(device: Device, bundle: Bundle) -> str:
    """Return why a device is given nothing, or not this, whatever it runs."""
    if device.audience not in bundle.audience:
        return f"the bundle is signed for {' and '.join(bundle.audience)} only"
    if device.state != Device.State.ACTIVE:
        return f"the device is {device.state}"
    if device.quarantined:
        return "the device is quarantined"
    alone = bundle.kind == Bundle.Kind.COMPOSITE and device.twin.reported.get("protection", "full") != "full"
    return "its own update client installs no bundles together" if alone else ""


def _running(device: Device, whole: Sequence[Bundle]) -> Iterator[tuple[Bundle, Bundle | None]]:
    for one in whole:
        yield one, running_bundle(device, one.component)


def _beside(device: Device, bundle: Bundle) -> str:
    """Return what the bundle needs beside it and the device does not run, by its last report, if it has made one."""
    runs = device.twin.reported.get("components", {})
    for one in bundle.manifest.get("requires", []) if runs else []:
        have = runs.get(one["component"], {}).get("counter")
        if have is None or not one["min_counter"] <= have <= one.get("max_counter", have):
            return f"it needs {one['component']} with a counter of at least {one['min_counter']} first"
    return ""


def _step(act: str, actor: Actor, rollout: Rollout, reason: str = "", key: str = "") -> Rollout:
    actor.require(Role.OPERATOR)
    sources, target = STEPS[act]
    with transaction.atomic():
        locked = Rollout.objects.select_for_update().get(pk=rollout_of(actor.domain, rollout.public_id).pk)
        if locked.state not in sources:
            wanted = " or ".join(sorted(sources))
            msg = f"A rollout that is {locked.state} cannot {act}; it would have to be {wanted}."
            raise ConflictError(msg)
        locked.state = target
        locked.hold_reason, locked.hold_key = reason[:300], key[:60]
        if act == "start":
            locked.started_at = clock.now()
        if target in {State.FINISHED, State.ABORTED}:
            locked.finished_at = clock.now()
        locked.save()
        detail = {"reason": reason[:200]} if reason else {}
        ledger.record(actor=actor, action=f"rollout.{act}", thing=("rollout", locked.public_id), detail=detail)
    return locked
