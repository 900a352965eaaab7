"""Decide whether a device may receive a bundle. The answer is a reason of ``ota.eligibility`` for every caller.

Planning asks ``DeviceRules`` of each device, a running rollout ``rollout_reason``, every poll ``offer_reason``. What
officers signed (``ota.selectors.signed``) and what hardware can run (``ota.selectors.fitting``) are looked up for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from devices.models import Device, HardwareModel
from devices.twin_documents import ReportedTwin
from ota.contract.bundle_documents import is_within
from ota.eligibility import ObstacleKind, Reason, join_audiences, make_reason, of_hardware
from ota.models import Assignment, Bundle, Release, Rollout
from ota.selectors import fitting, parts, signed
from ota.selectors.running import RunningBundles
from ota.trust import protection

Status = Assignment.Status
#: statuses in which the device has not begun: a hold withholds them
NOT_BEGUN = frozenset({Status.WAITING, Status.SCHEDULED, Status.RETRIEVED})
#: kinds of bundles that the resources of a hardware model must fit
_CHECKED = frozenset({Bundle.Kind.MODEL, Bundle.Kind.COMPOSITE})


@dataclass(frozen=True, slots=True)
class CandidateDevice:
    """The facts of one device that decide.

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
        """Return the device's last report; empty if there is none."""
        return self.last_report or {}


class DeviceRules:
    """The requirements of one bundle for devices of a rollout.

    Args:
        bundle: what is rolled out.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._whole = bundle, parts.bundle_and_parts(bundle)
        self._hardware = {model.pk: hardware_reason(bundle, model) for model in bundle.hardware_models.all()}
        self._running = RunningBundles(bundle.domain_id, {one.component for one in self._whole})

    def reason(self, device: CandidateDevice) -> Reason | None:
        """Return why a device is excluded, or None if it is eligible."""
        if device.hardware not in self._hardware:
            return make_reason(ObstacleKind.OTHER_HARDWARE)
        found = self._hardware[device.hardware] or self._of_device(device) or self._beside(device)
        if found is not None:
            return found
        runs = all(self._running.of(device.reported, bundle.component) == bundle.pk for bundle in self._whole)
        return make_reason(ObstacleKind.RUNS_ALREADY) if runs else None

    def _of_device(self, device: CandidateDevice) -> Reason | None:
        """Return why a device receives nothing, or not this bundle, independent of its current version."""
        bundle = self._bundle
        if device.audience not in bundle.audience:
            return make_reason(ObstacleKind.OTHER_AUDIENCE, audiences=join_audiences(bundle.audience))
        if device.state != Device.State.ACTIVE:
            return make_reason(ObstacleKind.NOT_ACTIVE, state=device.state)
        if device.quarantined_at is not None:
            return make_reason(ObstacleKind.QUARANTINED)
        # Servers before this version stored it under `protection`.
        client, before = device.reported.get("proof", {}).get("client"), device.reported.get("protection")
        foreign = client in {protection.DDI, protection.SUIT} or before in {protection.VENDOR, protection.MANIFEST}
        alone = bundle.kind == Bundle.Kind.COMPOSITE and foreign
        return make_reason(ObstacleKind.INSTALLS_NO_COMPOSITES) if alone else None

    def _beside(self, device: CandidateDevice) -> Reason | None:
        """Return the reason if the device's last report lacks a component that the bundle requires, else None."""
        runs = device.reported.get("components", {})
        for requirement in self._bundle.manifest.get("requires", []) if runs else []:
            have = runs.get(requirement["component"], {}).get("counter")
            if have is None or not is_within(requirement, have):
                return make_reason(
                    ObstacleKind.NEEDS_COMPONENT, component=requirement["component"], counter=requirement["min_counter"]
                )
        return None


def hardware_reason(bundle: Bundle, model: HardwareModel, known: fitting.Released | None = None) -> Reason | None:
    """Return why no device of a hardware model may receive a bundle now, or None if some may.

    Args:
        bundle: of any kind.
        model: that it is for.
        known: what ``fitting.released_counters`` says of the domain, where many are compared.
    """
    why = signed.class_objection(bundle, str(model.class_id))
    return of_hardware(model.name, [why] if why else fitting.incompatibility_reasons(bundle, model, known))


def rollout_reason(bundle: Bundle) -> Reason | None:
    """Return why a rollout cannot continue, or None: officers withdrew the bundle, or hardware can no longer run it."""
    if why := signed.blanket_refusal(bundle):
        return why
    if bundle.kind not in _CHECKED:
        return None
    whole = parts.bundle_and_parts(bundle)
    if gone := _withdrawn(whole[1:]):
        return make_reason(ObstacleKind.PART_WITHDRAWN, part=str(gone))
    known = fitting.released_counters(bundle.domain.slug)
    models = [member for member in whole if member.kind == Bundle.Kind.MODEL]
    reasons = (hardware_reason(member, model, known) for model in bundle.hardware_models.all() for member in models)
    return next(filter(None, reasons), None)


def offer_reason(device: Device, assignment: Assignment) -> Reason | None:
    """Return why an open action of a device is withheld now, or None if it is offered.

    What officers signed decides; rows only narrow it: a quarantined device is offered its own repair only, a held or
    paused rollout withholds what has not begun, and a withdrawn release is no longer offered.
    """
    return _of_rows(device, assignment) or signed.bundle_refusal(assignment.bundle, device)


def withheld_actions(device: Device, assignments: Iterable[Assignment]) -> list[tuple[Assignment, Reason]]:
    """Return a device's open actions that are not offered now, with the reasons."""
    begun = (assignment for assignment in assignments if assignment.open and assignment.status != Status.WAITING)
    return [(assignment, why) for assignment in begun if (why := offer_reason(device, assignment)) is not None]


def _of_rows(device: Device, assignment: Assignment) -> Reason | None:
    if assignment.kind == Assignment.Kind.REPAIR:
        return None
    rollout = assignment.rollout
    if rollout is not None and rollout.release.state == Release.State.WITHDRAWN:
        return make_reason(ObstacleKind.RELEASE_WITHDRAWN)
    if parts.is_part_stopped(assignment.bundle):  # no device receives what officers are about to withdraw
        return make_reason(ObstacleKind.PARTS_INCOMPLETE)
    if device.quarantined:
        return make_reason(ObstacleKind.QUARANTINED)
    if rollout is not None and rollout.state != Rollout.State.RUNNING and assignment.status in NOT_BEGUN:
        return make_reason(ObstacleKind.ROLLOUT_NOT_RUNNING, state=rollout.state)
    return None


def _withdrawn(members: Sequence[Bundle]) -> Bundle | None:
    return next((member for member in members if member.release.state != Release.State.PUBLISHED), None)
