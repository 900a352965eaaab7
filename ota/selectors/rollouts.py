"""Queries of rollouts and assignments. Nothing here writes or reads beyond one domain."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from devices.models import Device
from devices.selectors import device_referred
from ota.models import Assignment, AssignmentEvent, Rollout, Wave
from ota.models.rollouts import GROUP_OF_SEVERAL
from ota.selectors.status_counts import count_by_rollout, count_by_wave, count_causes
from pki.kernel.actor import Actor
from pki.kernel.filters import choice_field, reference_field, text_field
from pki.kernel.permissions import Action, permitted_rows
from pki.kernel.plurals import number_of
from pki.selectors.finding import named_rows, one_by_id, one_referred

Status = Assignment.Status
State = Rollout.State
#: states of rollouts in progress
LIVE = (State.PREPARING, State.RUNNING, State.HELD, State.PAUSED, State.ABORTING)
#: status of an assignment -> group that people see
GROUPS: dict[str, str] = {
    Status.WAITING: "waiting",
    Status.SCHEDULED: "offered",
    Status.RETRIEVED: "offered",
    Status.RUNNING: "installing",
    Status.DOWNLOAD: "installing",
    Status.DOWNLOADED: "installing",
    Status.INSTALLED: "installing",
    Status.WARNING: "installing",
    Status.CANCELING: "canceling",
    Status.CANCELED: "canceled",
    Status.ERROR: "failed",
    Status.FINISHED: "finished",
}


#: number of failure causes shown for a rollout, the most frequent first
MOST_CAUSES = 20
#: number of messages shown for one assignment, and on a page of many for all of them; of each at least so many
MOST_MESSAGES, MESSAGES_OF_A_PAGE, LEAST_MESSAGES = 200, 5000, 10


@dataclass(frozen=True, slots=True)
class WaveProgress:
    """One wave and how many of its devices are in which group."""

    wave: Wave
    devices: int
    groups: dict[str, int]

    @property
    def finished(self) -> int:
        """Return the number of devices that have finished."""
        return self.groups.get("finished", 0)


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """The current step of a rollout on the server: ``preparing``, ``opening`` (a wave) or ``aborting``.

    Args:
        name: of the step.
        done: devices that it is done with.
        devices: that it is for; 0 while they are being chosen.
    """

    name: str
    done: int
    devices: int

    @property
    def text(self) -> str:
        """Return the step in words."""
        if not self.devices:
            return f"{self.name}, choosing devices"
        return f"{self.name}, {self.done:,} of {number_of(self.devices, 'device')}"

    @property
    def facts(self) -> dict[str, str | int]:
        """Return the step for programs."""
        return {"name": self.name, "done": self.done, "devices": self.devices, "text": self.text}


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """The progress of a rollout.

    Args:
        waves: in order.
        groups: devices of the whole rollout by group.
        causes: what devices gave as reason of a failure, and how many did, most first.
        budget: failures that the error budget allows.
        step: what the server is at, if it is at something.
    """

    waves: list[WaveProgress]
    groups: dict[str, int]
    causes: list[tuple[str, int]] = field(default_factory=list)
    budget: int = 0
    step: RolloutStep | None = None

    @property
    def devices(self) -> int:
        """Return the number of devices of the rollout."""
        return sum(self.groups.values())


@dataclass(frozen=True, slots=True)
class RolloutFilter:
    """The filter of the rollout list."""

    state: str = choice_field(
        "The state of the rollout; `live` selects all that are in progress.",
        ("live", *Rollout.State.values),
        "Rollout.state",
    )
    name: str = text_field("The name of the rollout.", "Rollout.name", most=100)


def list_rollouts(*, actor: Actor, wanted: RolloutFilter = RolloutFilter()) -> QuerySet[Rollout]:
    """Return the rollouts that match, newest first."""
    rows = permitted_rows(actor, Action.READ, Rollout.objects.all())
    if wanted.state:
        rows = rows.filter(state__in=LIVE if wanted.state == "live" else [wanted.state])
    if wanted.name:
        rows = rows.filter(name=wanted.name)
    return rows.select_related("release__bundle", "domain").order_by("-id")


def brief_rollouts(*, actor: Actor, wanted: RolloutFilter = RolloutFilter()) -> QuerySet[Rollout]:
    """Return the rollouts that match, newest first, without the devices that they exclude: up to 1,000 a reason."""
    return list_rollouts(actor=actor, wanted=wanted).defer("excluded")


def rollout_names(*, actor: Actor, public_ids: Iterable[str | UUID]) -> dict[str, str]:
    """Return the names of rollouts, by public id; omit rollouts that the actor may not see."""
    rows = named_rows(permitted_rows(actor, Action.READ, Rollout.objects.all()), public_ids)
    return {str(key): name for key, name in rows.values_list("public_id", "name")}


def rollout_public_ids(*, actor: Actor, names: Iterable[str]) -> dict[str, UUID]:
    """Return the public ids of rollouts, by name."""
    rows = permitted_rows(actor, Action.READ, Rollout.objects.all()).filter(name__in=list(names))
    return dict(rows.values_list("name", "public_id"))


def get_rollout(*, actor: Actor, public_id: str | UUID) -> Rollout:
    """Return a rollout by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return one_by_id(list_rollouts(actor=actor), public_id, "rollout")


def rollout_progress(rollout: Rollout) -> RolloutProgress:
    """Return the progress of a rollout, in three queries for any size."""
    return progress_of([rollout])[rollout.pk]


def progress_of(rollouts: Sequence[Rollout]) -> dict[int, RolloutProgress]:
    """Return the progress of rollouts, by internal id, in three queries for any number of them."""
    keys = [rollout.pk for rollout in rollouts]
    by_wave, causes = count_by_wave(rollouts), count_causes(rollouts, MOST_CAUSES)
    waves: defaultdict[int, list[WaveProgress]] = defaultdict(list)
    for wave_row in Wave.objects.filter(rollout__in=keys).order_by("rollout_id", "index"):
        groups = _grouped(by_wave.get(wave_row.pk, {}))
        waves[wave_row.rollout_id].append(WaveProgress(wave_row, sum(groups.values()), groups))
    return {rollout.pk: _progress(rollout, waves[rollout.pk], causes.get(rollout.pk, [])) for rollout in rollouts}


def _grouped(statuses: Mapping[str, int]) -> dict[str, int]:
    """Return the number of devices in each group."""
    groups: Counter[str] = Counter()
    for status, devices in statuses.items():
        groups[GROUPS[status]] += devices
    return dict(groups)


def _progress(rollout: Rollout, waves: list[WaveProgress], causes: list[tuple[str, int]]) -> RolloutProgress:
    whole: Counter[str] = Counter()
    for wave in waves:
        whole.update(wave.groups)
    budget = whole.total() * rollout.error_permille // 1000
    return RolloutProgress(waves, dict(whole), causes, budget, _step(rollout, waves, whole))


def _step(rollout: Rollout, waves: Sequence[WaveProgress], whole: Mapping[str, int]) -> RolloutStep | None:
    placed = sum(whole.values())
    if rollout.state == Rollout.State.PREPARING:
        return RolloutStep("preparing", placed, rollout.targets)
    if rollout.state == Rollout.State.ABORTING:
        left = sum(whole.get(name, 0) for name in ("waiting", "offered", "installing"))
        return RolloutStep("aborting", placed - left, placed)
    opening = next((wave for wave in waves if wave.wave.state == Wave.State.OPENING), None)
    if opening is None:
        return None
    name = f"opening wave {opening.wave.index + 1}"
    return RolloutStep(name, opening.devices - opening.groups.get("waiting", 0), opening.devices)


def rollout_tallies(rollouts: Sequence[Rollout]) -> dict[int, dict[str, int]]:
    """Return, in one query, how many devices of each rollout are in which group, by the rollout's internal id."""
    return {key: _grouped(statuses) for key, statuses in count_by_rollout(rollouts).items()}


@dataclass(frozen=True, slots=True)
class AssignmentFilter:
    """The filter of the assignment list."""

    device: str = reference_field("The device that is updated.", "Assignment.device")
    rollout: str = reference_field("The rollout that the update belongs to.", "Assignment.rollout")
    status: str = choice_field("The last status that the device reported.", Status.values, "Assignment.status")
    group: str = choice_field(
        "The status, as the console shows it.", tuple(dict.fromkeys(GROUPS.values())), "Assignment.status"
    )


def list_assignments(*, actor: Actor, wanted: AssignmentFilter = AssignmentFilter()) -> QuerySet[Assignment]:
    """Return the assignments that match, newest first."""
    rows = permitted_rows(actor, Action.READ, Assignment.objects.all())
    if wanted.device:
        rows = rows.filter(device=device_referred(actor=actor, word=wanted.device))
    if wanted.rollout:
        rollout = one_referred(brief_rollouts(actor=actor), wanted.rollout, "rollout")
        rows = rows.filter(domain=rollout.domain_id, rollout=rollout, id__lte=_newest_id(rollout))
    # Of the few assignments of one device the status is looked at row by row, so it is asked of an expression: an index
    # of it would lead SQLite, which knows no numbers, through all that the domain has in that status.
    column = "said" if wanted.device else "status"
    rows = rows.alias(said=Coalesce("status", Value("")), several=GROUP_OF_SEVERAL)
    if wanted.status:
        rows = rows.filter(**{column: wanted.status})
    if wanted.group:
        rows = rows.filter(_in_group(wanted.group, column))
    return rows.select_related("device", "bundle", "rollout", "wave").defer("rollout__excluded").order_by("-id")


def _newest_id(rollout: Rollout) -> QuerySet[Assignment, int]:
    """Return the internal id of a rollout's newest assignment.

    PostgreSQL, which takes the rows of a rollout to be anywhere, would look for them among all newer assignments. Of
    a range in the order of its bounds it can only read the index.
    """
    rows = Assignment.objects.filter(domain=rollout.domain_id, rollout__gte=rollout.pk, rollout__lte=rollout.pk)
    return rows.order_by("-rollout_id", "-id").values_list("id", flat=True)[:1]


def _in_group(group: str, column: str) -> Q:
    """Return the condition of being in a group: of one status, or of several, which have an index of their own."""
    statuses = [status for status, name in GROUPS.items() if name == group]
    if column != "status":
        return Q(**{f"{column}__in": statuses})
    return Q(status=statuses[0]) if len(statuses) == 1 else Q(several=group)


def messages_of(assignments: Sequence[Assignment]) -> dict[int, list[str]]:
    """Return the newest messages of devices about assignments, by internal id, oldest first, in two queries."""
    share = max(LEAST_MESSAGES, min(MOST_MESSAGES, MESSAGES_OF_A_PAGE // max(len(assignments), 1)))
    events = AssignmentEvent.objects.filter(assignment=OuterRef("pk")).order_by("-id").values("id")
    rows = Assignment.objects.filter(pk__in=[assignment.pk for assignment in assignments]).order_by()
    firsts = dict(rows.values_list("pk", Subquery(events[share - 1 : share])))
    wanted = Q(assignment__in=[key for key, first in firsts.items() if first is None])
    for key, first in firsts.items():
        if first is not None:
            wanted |= Q(assignment=key, id__gte=first)
    said: defaultdict[int, list[str]] = defaultdict(list)
    for key, message in AssignmentEvent.objects.filter(wanted).order_by("id").values_list("assignment_id", "text"):
        said[key].append(message)
    return dict(said)


def assignments_of(device: Device, limit: int = 100) -> list[Assignment]:
    """Return the newest assignments of a device."""
    rows = Assignment.objects.filter(device=device)
    rows = rows.select_related("bundle__domain", "rollout__release", "previous_bundle").defer("rollout__excluded")
    return list(rows.order_by("-id")[:limit])


def open_assignments(device: Device) -> list[Assignment]:
    """Return a device's open actions in order: repairs first, then the oldest."""
    rows = Assignment.objects.filter(device=device, closed_at__isnull=True).exclude(status=Status.WAITING)
    rows = rows.select_related("bundle__domain", "rollout__release", "previous_bundle").defer("rollout__excluded")
    rows = rows.prefetch_related("bundle__files")
    assignments = list(rows.order_by("id"))
    assignments.sort(key=lambda assignment: assignment.kind != Assignment.Kind.REPAIR)
    return assignments
