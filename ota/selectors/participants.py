"""Who takes part in a rollout, in which order, and why others do not; nothing is written, and no lock is held."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import QuerySet

from devices import query
from devices.models import Device, HardwareModel
from devices.twin_documents import ReportedTwin
from ota import planning
from ota.models import Bundle, Rollout
from ota.planning import PERMILLE
from ota.selectors import fitting, parts, signed
from ota.selectors.running import RunningBundles
from ota.trust import protection

#: devices read in one query
PAGE = 2000
_FIELDS = ("id", "name", "hardware_model_id", "audience", "state", "quarantined_at", "twin__reported")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What decides about one device.

    Args:
        pk: its internal id.
        name: of the device.
        hardware: internal id of its hardware model.
        audience: what it is used as.
        state: of its lifecycle.
        quarantined_at: since when it is held back, if it is.
        last_report: as its twin keeps it.
    """

    pk: int
    name: str
    hardware: int
    audience: str
    state: str
    quarantined_at: datetime | None
    last_report: ReportedTwin | None

    @property
    def reported(self) -> ReportedTwin:
        """Return what it reported last; empty for a device that never did."""
        return self.last_report or {}


@dataclass(slots=True)
class Participants:
    """The devices of a rollout.

    Args:
        ranked: rank (``planning.rank``) and internal id of those that take part.
        others: reason to how many devices it keeps out, and the first of their names.
    """

    ranked: list[tuple[bytes, int]] = field(default_factory=list)
    others: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    @property
    def order(self) -> list[int]:
        """Return the internal ids of those that take part, as they are spread over the waves."""
        return [pk for _, pk in sorted(self.ranked)]

    @property
    def excluded(self) -> dict[str, dict[str, object]]:
        """Return the reasons as a rollout keeps them."""
        return {
            reason: {"count": count, "devices": sorted(names)[:PERMILLE]}
            for reason, (count, names) in self.others.items()
        }

    @property
    def nobody(self) -> str:
        """Return the sentence for a rollout that no device is left for."""
        why = "; ".join(f"{count} because {reason}" for reason, (count, _) in self.others.items())
        return f"No device is left to roll out to: {why or 'none is enrolled'}."

    def leave_out(self, reason: str, name: str) -> None:
        """Count a device that does not take part; of the names only the first in their order are kept."""
        count, names = self.others.get(reason, (0, []))
        names.append(name)
        if len(names) > 2 * PERMILLE:
            names = sorted(names)[:PERMILLE]
        self.others[reason] = (count + 1, names)


def candidates(rollout: Rollout) -> QuerySet[Device]:
    """Return the devices that match a rollout's target, by internal id; retired ones are never asked."""
    rows = Device.objects.filter(query.parse(rollout.target), domain=rollout.domain_id)
    return rows.exclude(state=Device.State.RETIRED).order_by("id")


def choose(rollout: Rollout, between: Callable[[], None] = lambda: None) -> Participants:
    """Decide of every candidate whether it takes part.

    Args:
        rollout: with its release and bundle.
        between: called after each page of devices.
    """
    bundle = rollout.release.bundle
    rules, found = _Rules(bundle, parts.whole(bundle)), Participants()
    for page in _pages(candidates(rollout)):
        for one in page:
            if reason := rules.unfit(one):
                found.leave_out(reason, one.name)
            else:
                found.ranked.append((planning.rank(rollout.name, one.name), one.pk))
        between()
    return found


def misfit(bundle: Bundle, model: HardwareModel, known: fitting.Released | None = None) -> str:
    """Return why a bundle does not fit a hardware model as it is now, or officers do not allow it there, or nothing."""
    if why := signed.objection(bundle, str(model.class_id)):
        return f"{model.name}: {why}"
    return "; ".join(f"{model.name}: {one.sentence()}" for one in fitting.reasons(bundle, model, known))


def _pages(rows: QuerySet[Device]) -> Iterator[list[Candidate]]:
    last = 0
    while page := list(rows.filter(id__gt=last).values_list(*_FIELDS)[:PAGE]):
        last = page[-1][0]
        yield [Candidate(*one) for one in page]


class _Rules:
    """What one bundle asks of a device."""

    def __init__(self, bundle: Bundle, whole: Sequence[Bundle]) -> None:
        self._bundle, self._whole = bundle, whole
        self._hardware = {model.pk: misfit(bundle, model) for model in bundle.hardware_models.all()}
        self._running = RunningBundles(bundle.domain_id, {one.component for one in whole})

    def unfit(self, device: Candidate) -> str:
        """Return why a device takes no part, or nothing."""
        if device.hardware not in self._hardware:
            return "the bundle is not for this hardware"
        if reason := self._hardware[device.hardware]:
            return f"the bundle does not fit {reason}"
        if shut := self._shut_out(device):
            return shut
        if missing := self._beside(device):
            return missing
        runs = all(self._running.of(device.reported, one.component) == one.pk for one in self._whole)
        return "it runs this version already" if runs else ""

    def _shut_out(self, device: Candidate) -> str:
        """Return why a device is given nothing, or not this, whatever it runs."""
        bundle = self._bundle
        if device.audience not in bundle.audience:
            return f"the bundle is signed for {' and '.join(bundle.audience)} only"
        if device.state != Device.State.ACTIVE:
            return f"the device is {device.state}"
        if device.quarantined_at is not None:
            return "the device is quarantined"
        # What servers before this version have noted stands under `protection`.
        client, before = device.reported.get("proof", {}).get("client"), device.reported.get("protection")
        foreign = client in {protection.DDI, protection.SUIT} or before in {protection.VENDOR, protection.MANIFEST}
        alone = bundle.kind == Bundle.Kind.COMPOSITE and foreign
        return "its own update client installs no bundles together" if alone else ""

    def _beside(self, device: Candidate) -> str:
        """Return what the bundle needs beside it and the device does not run, by its last report, if there is one."""
        runs = device.reported.get("components", {})
        for one in self._bundle.manifest.get("requires", []) if runs else []:
            have = runs.get(one["component"], {}).get("counter")
            if have is None or not one["min_counter"] <= have <= one.get("max_counter", have):
                return f"it needs {one['component']} with a counter of at least {one['min_counter']} first"
        return ""
