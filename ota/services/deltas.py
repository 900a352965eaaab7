"""Make patches for running rollouts, and choose one for each device that requests it."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet, Sum

from devices.models import Device
from devices.twin_documents import Applier, ReportedTwin
from ota import blobs, sandbox
from ota.contract import patch
from ota.deltas.choose import TriedPatch, choose_patch, ram_of
from ota.errors import RefusedBundleError
from ota.models import Assignment, Bundle, BundleFile, Delta, PatchTry, PatchWork, Rollout, StatusCount, Wave
from ota.selectors import patches
from ota.selectors.status_counts import count_by_rollout
from ota.services import assignments, storage
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import DomainError
from pki.kernel.files import open_plain
from pki.kernel.recent import Recent
from pki.models import TrustDomain
from pki.models.json_members import member_of

#: a pair is worth a patch for one in a hundred of the devices that wait, or for fifty
SHARE, ENOUGH = 100, 50
MOST_WAITING = 20_000
#: a plan is renewed when one in this many devices has progressed, or after this many seconds
CHANGED, PLANNED_S = 20, 600.0
#: seconds between two searches for patches that are no longer needed, and how many one statement removes
PRUNED_S, PRUNED = 3600.0, 500
#: longest time of one patch in seconds, because the job holds its lease meanwhile
SECONDS = 50
KEPT = timedelta(days=30)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pair:
    """The current image of devices and their target image: SHA-256 in hex; no base for the packed image."""

    base: str
    result: str
    format: str


@dataclass(frozen=True, slots=True)
class _Said:
    """Result of a child that made a patch: an error, or the size in bytes and the duration in seconds."""

    trouble: str
    size: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Plan:
    """Pending patches of a domain, valid until the data behind them changes.

    Args:
        waves: internal id and state of each wave of the rollouts that run.
        devices: how many devices were at an update in them.
        wanted: pairs that these make, those of most devices first.
        left: of them, those that no patch was tried for.
    """

    waves: frozenset[tuple[int, str]]
    devices: int
    wanted: list[Pair]
    left: list[Pair]

    def holds(self, waves: frozenset[tuple[int, str]], devices: int) -> bool:
        """Return whether the same waves are open, and about as many devices are updating."""
        return self.waves == waves and abs(self.devices - devices) * CHANGED <= self.devices


_plans: Recent[int, _Plan] = Recent(PLANNED_S)
_pruned: Recent[int, bool] = Recent(PRUNED_S)


def make_missing_patch(*, domain: TrustDomain) -> bool:
    """Make one missing patch that devices need; return whether one was tried. A job calls this.

    What is wanted is found out when a wave opens or ends, when one in twenty of the devices has gone on, and every ten
    minutes; between these times a run reads no device and no assignment.
    """
    plan = _planned(domain)
    # The image of a pair may have been collected since.
    while plan.left:
        if _possible(domain, plan.left[:1]):
            _make(domain, plan.left[0])
            del plan.left[0]
            _tell(domain, plan.wanted, plan.left)
            return True
        del plan.left[0]
    _pruned.get(domain.pk, lambda: _prune(domain))
    return False


def _planned(domain: TrustDomain) -> _Plan:
    """Return the stored plan, or a new one."""
    running = list(Rollout.objects.filter(domain=domain, state=Rollout.State.RUNNING).defer("excluded"))
    if not running:
        return _Plan(frozenset(), 0, [], [])
    waves = frozenset(Wave.objects.filter(rollout__in=running).values_list("pk", "state"))
    counted = count_by_rollout(running).values()
    devices = sum(many for counts in counted for status, many in counts.items() if status not in assignments.ENDS)
    plan = _plans.get(domain.pk, lambda: _plan(domain, waves, devices))
    if not plan.holds(waves, devices):
        plan = _plan(domain, waves, devices)
        _plans.keep(domain.pk, plan)
    return plan


def _plan(domain: TrustDomain, waves: frozenset[tuple[int, str]], devices: int) -> _Plan:
    """Find the patches that are needed, and store the progress."""
    pairs = _possible(domain, list(_wanted(domain)))
    rows = Delta.objects.filter(domain=domain, result__in={pair.result for pair in pairs})
    known = {Pair(*row) for row in rows.values_list("base", "result", "format")}
    left = [pair for pair in pairs if pair not in known]
    _tell(domain, pairs, left)
    return _Plan(waves, devices, pairs, left)


def offer_patch(device: Device, bundle: Bundle, rollout_id: int | None) -> TriedPatch | None:
    """Return the patch that a device must fetch instead of the image, or None.

    Args:
        device: with its twin: what runs, and what it can apply, as it has signed it.
        bundle: the one to install.
        rollout_id: of which rollout (internal id); a format that fails there is not given out any more.
    """
    reported = device.twin.reported
    able = reported.get("appliers", [])
    off = patches.switched_off(rollout_id) if able else set()
    appliers = [applier for applier in able if applier["format"] not in off]
    if not appliers:
        return None
    runs = _running(reported, bundle)
    rows = Delta.objects.filter(domain=device.domain_id, result=bundle.image.sha256, trouble="")
    offers = [
        TriedPatch(row.format, row.base, row.sha256, row.size, row.ram) for row in rows.filter(base__in=["", runs])
    ]
    return choose_patch(offers, appliers, runs, bundle.image.size)


def note_patch_result(*, actor: Actor, device: Device, action_id: int, format_: str, trouble: str) -> None:
    """Store the result of the patch that a device received; the last report counts.

    Raises:
        NotFoundError: not this device's action.
    """
    actor.require_device(device.key)
    assignment = assignments.of_device(device, action_id)
    PatchTry.objects.update_or_create(assignment=assignment, defaults={"format": format_, "trouble": trouble})
    if trouble:
        _logger.warning(
            "a device could not apply a patch", extra={"device": device.name, "format": format_, "trouble": trouble}
        )


def _wanted(domain: TrustDomain) -> Iterator[Pair]:
    """Yield the pairs of waiting devices, the most frequent first, in each format that the devices can apply."""
    running = list(Rollout.objects.filter(domain=domain, state=Rollout.State.RUNNING).values_list("pk", flat=True))
    if not running:
        return
    waiting = Assignment.objects.filter(domain=domain, closed_at__isnull=True, rollout__in=running)
    some = Assignment.objects.filter(pk__in=waiting.order_by("id").values("pk")[:MOST_WAITING]).order_by()
    totals = dict(some.values_list("bundle_id").annotate(devices=Count("pk")))
    bundles = Bundle.objects.prefetch_related("files").in_bulk(totals)
    counted: Counter[Pair] = Counter()
    for key, bundle in bundles.items():
        result = bundle.image.sha256
        for appliers, runs, devices in _groups(some.filter(bundle=key), bundle.component):
            for applier in appliers or []:
                counted[Pair("", result, applier["format"])] += devices
                if runs and runs != result:
                    counted[Pair(str(runs), result, applier["format"])] += devices
    total = sum(totals.values())
    for pair, devices in counted.most_common():
        if devices >= ENOUGH or devices * SHARE >= total:
            yield pair


def _groups(rows: QuerySet[Assignment], component: str) -> Iterator[tuple[list[Applier] | None, str | None, int]]:
    """Yield formats, digest of the current image, and number of devices, for each group of equal devices.

    The database counts: reading 20,000 reports every few seconds kept the worker's other jobs waiting.
    """
    runs = member_of("device__twin__reported", "components", component, "sha256", text=True)
    able = rows.annotate(able=member_of("device__twin__reported", "appliers"), runs=runs)
    yield from able.filter(able__isnull=False).values_list("able", "runs").annotate(devices=Count("pk"))


def _running(reported: ReportedTwin, bundle: Bundle) -> str:
    """Return the digest that a device reports for a bundle's component; empty if it reports none."""
    return str(reported.get("components", {}).get(bundle.component, {}).get("sha256", ""))


def _possible(domain: TrustDomain, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs whose images both are this domain's; only our own format packs an image as a whole.

    A device names the image that it runs: with another domain's it would be given what differs from that one.
    """
    named = {digest for pair in pairs for digest in (pair.base, pair.result) if digest}
    images = BundleFile.objects.filter(bundle__domain=domain, sha256__in=named, role="image", collected_at__isnull=True)
    there = {"", *images.values_list("sha256", flat=True)}
    return [one for one in pairs if {one.base, one.result} <= there and (one.base or one.format == patch.FORMAT)]


def _tell(domain: TrustDomain, pairs: Sequence[Pair], waiting: Sequence[Pair]) -> None:
    """Store the progress of each image that has changed."""
    left = Counter(pair.result for pair in waiting)
    rows = {
        patch_work.result: (patch_work.wanted, patch_work.done)
        for patch_work in PatchWork.objects.filter(domain=domain)
    }
    for result, many in Counter(pair.result for pair in pairs).items():
        now = many, many - left[result]
        if rows.get(result) != now:
            facts = {"wanted": now[0], "done": now[1], "at": clock.now()}
            PatchWork.objects.update_or_create(domain=domain, result=result, defaults=facts)


def _make(domain: TrustDomain, pair: Pair) -> None:
    """Make one patch in the child; store it, or store that it is useless."""
    store, facts = blobs.blob_store(), {"base": pair.base, "result": pair.result, "format": pair.format}
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="muster-delta-", dir=settings.FLEET_DIR / "run"))
        scratch = Path(folder)
        old = held.enter_context(store.at_hand(pair.base)) if pair.base else None
        new = held.enter_context(store.at_hand(pair.result))
        said, stream = _asked(pair, old, new, scratch)
        if stream is None:
            _logger.warning("a patch could not be created", extra={**facts, "trouble": said.trouble})
            Delta.objects.create(domain=domain, trouble=said.trouble[:200], **facts)
            return
        held.enter_context(stream)
        staged = store.stage(stream, held.enter_context(store.staging()), said.size)
        store.adopt(staged)
        length = old.stat().st_size if old else 0
        measured = {
            "size": staged.size,
            "sha256": staged.sha256,
            "ram": ram_of(pair.format, length, staged.size),
            "seconds": said.seconds,
        }
        with transaction.atomic():
            storage.lock_digests([staged.sha256])
            store.adopt(staged)  # again only if it was collected since
            Delta.objects.create(domain=domain, **facts, **measured)


def _asked(pair: Pair, old: Path | None, new: Path, scratch: Path) -> tuple[_Said, BinaryIO | None]:
    """Return the child's result and the patch, which may be any bytes."""
    files = {"new": new} | ({"old": old} if old else {})
    try:
        answer = sandbox.run_confined("ota.deltas", {"formats": [pair.format]}, files, scratch, SECONDS).answer
        said = _read(answer)
        return said, None if said.trouble else open_plain(scratch / pair.format)
    except RefusedBundleError:
        return _Said(f"it took longer than {SECONDS} s, or too much memory"), None
    except (DomainError, OSError, LookupError, TypeError, ValueError) as error:
        return _Said(str(error)[:200] or type(error).__name__), None


def _read(answer: Mapping[str, object]) -> _Said:
    match answer:
        case {"made": [{"trouble": trouble}, *_]}:
            return _Said(str(trouble) or "no reason was given")
        case {"made": [{"size": int(size), "seconds": int(seconds) | float(seconds)}, *_]}:
            return _Said("", size, float(seconds))
    msg = "the patch generator's answer cannot be parsed"
    raise ValueError(msg)


def _open_bundles(domain: TrustDomain) -> set[int]:
    """Return the internal ids of the bundles of open assignments, from the kept counts for those of rollouts."""
    counts = StatusCount.objects.filter(rollout__domain=domain).exclude(status__in=assignments.ENDS)
    there = counts.values_list("rollout__release__bundle").annotate(there=Sum("devices")).filter(there__gt=0)
    of_rollouts = {bundle for bundle, _ in there.order_by()}
    alone = Assignment.objects.filter(domain=domain, rollout__isnull=True, closed_at__isnull=True)
    open_status = [status for status in assignments.Status.values if status not in assignments.ENDS]
    return of_rollouts | set(alone.filter(status__in=open_status).values_list("bundle_id", flat=True).distinct())


def _prune(domain: TrustDomain) -> bool:
    """Delete month-old patches that no device needs; the blob collection removes their bytes. Return True."""
    needed = BundleFile.objects.filter(bundle__in=_open_bundles(domain)).values("sha256")
    before = clock.now() - KEPT
    old = Delta.objects.filter(domain=domain, made_at__lt=before)
    work = PatchWork.objects.filter(domain=domain, at__lt=before)
    for rows in (old, work):
        # Looked for first: a statement that deletes takes the write lock, also when it finds nothing.
        while late := list(rows.exclude(result__in=needed).values_list("pk", flat=True)[:PRUNED]):
            rows.filter(pk__in=late).delete()
    return True
