"""Rollouts and assignments."""

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import api_actor
from fleet.api.base import MOST_INTEGER, MOST_SOAK, Input, Name, Nothing, Output, Text, View, read_fields
from fleet.api.documents import DescribedDocument
from fleet.api.lists import list_answer, list_schema
from ota.models import Assignment as AssignmentRow
from ota.models import Rollout as RolloutRow
from ota.planning import Thresholds, WavePlan
from ota.selectors import bundles as bundle_rows
from ota.selectors import patches as patch_rows
from ota.selectors import rollouts as rollout_rows
from ota.services import rollouts


class WaveIn(Input):
    """One wave: a number of devices, or a cumulative share in permille."""

    count = serializers.IntegerField(
        min_value=0, max_value=MOST_INTEGER, default=0, help_text="Number of devices; 0 if `share` is given."
    )
    share = serializers.IntegerField(
        min_value=0,
        max_value=1000,
        default=0,
        help_text="Cumulative share of all target devices, including this wave, in permille; 0 if `count` is given.",
    )
    soak_s = serializers.IntegerField(
        min_value=0,
        max_value=MOST_SOAK,
        default=0,
        help_text="Soak time before the next wave starts, in seconds.",
    )


class RolloutIn(Input):
    """A rollout to plan."""

    name = Name(max_length=100, help_text="Name of the rollout.")
    release = serializers.UUIDField(help_text="Id of a published release.")
    waves = WaveIn(many=True, help_text="Waves, in order.")
    success_permille = serializers.IntegerField(
        min_value=1,
        max_value=1000,
        default=900,
        help_text="Minimum share of a wave that must succeed before the next wave starts, in permille.",
    )
    error_permille = serializers.IntegerField(
        min_value=0,
        max_value=1000,
        default=100,
        help_text="Maximum share that may fail before the rollout is held, in permille.",
    )
    target = Text(
        max_length=1000,
        default="",
        allow_blank=True,
        help_text="Query that selects the devices; empty for all devices that are compatible with the bundle.",
    )


class WaveOut(Output):
    """State of a wave."""

    wave = serializers.CharField(source="wave.label")
    state = serializers.CharField(source="wave.state")
    gate = serializers.CharField(source="wave.gate")
    soak_s = serializers.IntegerField(source="wave.soak_s")
    devices = serializers.IntegerField()
    groups = serializers.DictField(child=serializers.IntegerField())


class StepOut(Output):
    """The current step of the server in a rollout."""

    name = serializers.CharField()
    done = serializers.IntegerField(help_text="Number of devices for which the step is done.")
    devices = serializers.IntegerField(help_text="Number of devices of the step.")
    text = serializers.CharField()


class CauseOut(Output):
    """A cause of failures, and the number of devices that reported it."""

    cause = serializers.CharField()
    devices = serializers.IntegerField()


class PatchUseOut(Output):
    """Results of one patch format in a rollout."""

    format = serializers.CharField()
    tried = serializers.IntegerField(help_text="Number of devices that received a patch in this format.")
    failed = serializers.IntegerField(help_text="Number of these devices that fetched the full image in the end.")
    off = serializers.BooleanField(help_text="Whether the rollout no longer offers this format.")


class ProgressOut(Output):
    """Progress of a rollout."""

    devices = serializers.IntegerField()
    step = StepOut(allow_null=True)
    groups = serializers.DictField(child=serializers.IntegerField(), help_text="Map of group to number of devices.")
    budget = serializers.IntegerField(help_text="Number of failures that the error budget allows.")
    failures = CauseOut(many=True)
    waves = WaveOut(many=True)
    patches = PatchUseOut(many=True)


class ExcludedDevices(TypedDict):
    """Devices that one reason excludes: its code, their number, and the first of their names.

    Rollouts that an older server planned have only some of these.
    """

    code: NotRequired[str]
    count: NotRequired[int]
    devices: NotRequired[list[str]]


class RolloutOut(Output):
    """A rollout and its progress."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    release = serializers.UUIDField(source="release.public_id")
    bundle = serializers.CharField(source="release.bundle.name")
    version = serializers.CharField(source="release.bundle.version")
    state = serializers.CharField()
    hold_reason = serializers.CharField()
    target = serializers.CharField(help_text="Query that selected the devices; empty for all compatible devices.")
    excluded = DescribedDocument(
        dict[str, ExcludedDevices], help_text="Map of reason to the devices that it excludes from the rollout."
    )
    progress = serializers.SerializerMethodField()

    @extend_schema_field(ProgressOut)
    def get_progress(self, rollout: RolloutRow) -> dict[str, object]:
        """Waves, numbers of devices by group, and failures by cause."""
        progress = self.context["progress"][rollout.pk]
        return {
            "devices": progress.devices,
            "step": progress.step.facts if progress.step else None,
            "groups": progress.groups,
            "budget": progress.budget,
            "failures": [{"cause": cause, "devices": number} for cause, number in progress.causes],
            "waves": WaveOut(progress.waves, many=True).data,
            "patches": [
                {"format": patch.format, "tried": patch.tried, "failed": patch.failed, "off": patch.is_off}
                for patch in self.context["patches"][rollout.pk]
            ],
        }


def _standing(rollouts_: Sequence[RolloutRow]) -> dict[str, object]:
    """Return the progress and patches of rollouts, in a few queries for any number of rollouts."""
    return {
        "progress": rollout_rows.progress_of(rollouts_),
        "patches": patch_rows.in_rollouts([rollout.pk for rollout in rollouts_]),
    }


def _one_rollout(row: RolloutRow) -> Response:
    return Response(RolloutOut(row, context=_standing([row])).data)


class AssignmentOut(Output):
    """A target version assigned to one device, and what the device has reported about it."""

    id = serializers.UUIDField(source="public_id")
    action = serializers.IntegerField(source="action_id")
    device = serializers.CharField(source="device.name")
    kind = serializers.CharField()
    bundle = serializers.CharField(source="bundle.name")
    to_version = serializers.CharField(source="bundle.version")
    status = serializers.CharField()
    reason = serializers.CharField()
    messages = serializers.SerializerMethodField()
    updated_at = serializers.DateTimeField()

    def get_messages(self, assignment: AssignmentRow) -> list[str]:
        """Newest messages from the device."""
        return list(self.context["messages"].get(assignment.pk, []))


class Assignments(View):
    """Assignments: target versions of devices."""

    @list_schema(AssignmentOut, rollout_rows.AssignmentFilter)
    def get(self, request: Request) -> Response:
        """List assignments, newest first."""
        return list_answer(
            request,
            rollout_rows.list_assignments,
            AssignmentOut,
            lambda rows: {"messages": rollout_rows.messages_of(rows)},
        )


class Rollouts(View):
    """Rollouts."""

    @list_schema(RolloutOut, rollout_rows.RolloutFilter)
    def get(self, request: Request) -> Response:
        """List rollouts, newest first."""
        return list_answer(request, rollout_rows.list_rollouts, RolloutOut, _standing)

    @extend_schema(request=RolloutIn, responses={201: RolloutOut})
    def post(self, request: Request) -> Response:
        """Create a rollout. Start it with a separate call."""
        who, given = api_actor(request), read_fields(request, RolloutIn)
        rollout = rollouts.create(
            actor=who,
            name=given["name"],
            release=bundle_rows.get_release(actor=who, public_id=given["release"]),
            waves=[WavePlan(**wave) for wave in given["waves"]],
            thresholds=Thresholds(given["success_permille"], given["error_permille"]),
            target=given["target"],
        )
        return Response(RolloutOut(rollout, context=_standing([rollout])).data, status=status.HTTP_201_CREATED)


class RolloutView(View):
    """One rollout."""

    @extend_schema(responses=RolloutOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a rollout and its progress."""
        who = api_actor(request)
        return _one_rollout(rollout_rows.get_rollout(actor=who, public_id=public_id))


class RolloutStart(View):
    """Start a rollout."""

    @extend_schema(request=Nothing, responses=RolloutOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Start a rollout. Its first wave starts."""
        return _done(request, public_id, rollouts.start)


class RolloutPause(View):
    """Pause a rollout."""

    @extend_schema(request=Nothing, responses=RolloutOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Pause a rollout. No further device is offered the update until the rollout is resumed."""
        return _done(request, public_id, rollouts.pause)


class RolloutResume(View):
    """Resume a rollout."""

    @extend_schema(request=Nothing, responses=RolloutOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Resume a paused or held rollout."""
        return _done(request, public_id, rollouts.resume)


class RolloutAbort(View):
    """Abort a rollout."""

    @extend_schema(request=Nothing, responses=RolloutOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Abort a rollout permanently. Devices keep what they have installed."""
        return _done(request, public_id, rollouts.abort)


def _done(request: Request, public_id: str, service: Callable[..., object]) -> Response:
    who = api_actor(request)
    read_fields(request, Nothing)
    service(actor=who, rollout=rollout_rows.get_rollout(actor=who, public_id=public_id))
    return _one_rollout(rollout_rows.get_rollout(actor=who, public_id=public_id))
