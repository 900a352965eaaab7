"""Trust keys, bundles, releases, rollouts."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import parsers, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import actor
from fleet.api.base import MOST_INTEGER, MOST_SOAK, Input, Name, Nothing, Output, ReasonIn, Text, View, read
from fleet.api.lists import list_answer, list_schema
from fleet.api.parsers import bundle_parts
from ota.models import Assignment as AssignmentRow
from ota.models import Bundle as BundleRow
from ota.models import Release as ReleaseRow
from ota.models import Rollout as RolloutRow
from ota.models import TrustKey
from ota.planning import Thresholds, WavePlan
from ota.selectors import bundles as bundle_rows
from ota.selectors import fitting
from ota.selectors import patches as patch_rows
from ota.selectors import rollouts as rollout_rows
from ota.services import bundles, releases, removals, rollouts, trust_keys


class TrustKeyOut(Output):
    """A key that vouches for artefacts."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    format = serializers.CharField()
    component = serializers.CharField()
    product = serializers.CharField()
    fingerprint = serializers.CharField()
    revocation = serializers.ChoiceField(["crl", "none", "unstated", "n/a"], source="revocation_state")
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class TrustKeyIn(Input):
    """A key to register."""

    name = Name(max_length=100)
    format = serializers.ChoiceField(choices=TrustKey.Format.values)
    component = Name(max_length=60, default="", allow_blank=True)
    product = Name(max_length=60, default="", allow_blank=True)
    pem = Text(max_length=20_000)
    revocation = serializers.ChoiceField(choices=TrustKey.Revocation.values, default="", allow_blank=True)


class BundleOut(Output):
    """A bundle."""

    id = serializers.UUIDField(source="public_id")
    digest = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField()
    kind = serializers.CharField()
    format = serializers.CharField()
    component = serializers.CharField()
    security_counter = serializers.IntegerField()
    facts = serializers.JSONField()
    report = serializers.JSONField()
    release = serializers.SerializerMethodField()

    def get_release(self, bundle: BundleRow) -> str | None:
        """Return the id of the bundle's release, if there is one."""
        release = getattr(bundle, "release", None)
        return str(release.public_id) if release else None


class ReleaseOut(Output):
    """A release."""

    id = serializers.UUIDField(source="public_id")
    bundle = serializers.UUIDField(source="bundle.public_id")
    name = serializers.CharField(source="bundle.name")
    version = serializers.CharField(source="bundle.version")
    state = serializers.CharField()
    statement = serializers.SerializerMethodField()
    withdrawal = serializers.SerializerMethodField()
    signed_by = serializers.SerializerMethodField()
    published_at = serializers.DateTimeField(allow_null=True)

    def get_statement(self, release: ReleaseRow) -> str | None:
        """Return the id of the statement that officers sign to release it."""
        return str(release.statement.public_id) if release.statement else None

    def get_withdrawal(self, release: ReleaseRow) -> str | None:
        """Return the id of the statement that officers sign to take it back."""
        return str(release.withdrawal.public_id) if release.withdrawal else None

    def get_signed_by(self, release: ReleaseRow) -> list[str]:
        """Return the officers who signed so far."""
        return sorted(one.officer for one in release.statement.signatures.all()) if release.statement else []


class ReleaseIn(Input):
    """The bundle to release."""

    bundle = serializers.UUIDField()
    raise_floor = serializers.BooleanField(default=False)


class WaveIn(Input):
    """One wave: a count of devices or a cumulative share in permille."""

    count = serializers.IntegerField(min_value=0, max_value=MOST_INTEGER, default=0)
    share = serializers.IntegerField(min_value=0, max_value=1000, default=0)
    soak_s = serializers.IntegerField(min_value=0, max_value=MOST_SOAK, default=0)


class RolloutIn(Input):
    """A rollout to plan."""

    name = Name(max_length=100)
    release = serializers.UUIDField()
    waves = WaveIn(many=True)
    success_permille = serializers.IntegerField(min_value=1, max_value=1000, default=900)
    error_permille = serializers.IntegerField(min_value=0, max_value=1000, default=100)
    target = Text(max_length=1000, default="", allow_blank=True)


class WaveOut(Output):
    """How a wave stands."""

    wave = serializers.CharField(source="wave.label")
    state = serializers.CharField(source="wave.state")
    gate = serializers.CharField(source="wave.gate")
    soak_s = serializers.IntegerField(source="wave.soak_s")
    devices = serializers.IntegerField()
    groups = serializers.DictField(child=serializers.IntegerField())


class RolloutOut(Output):
    """A rollout and how it stands."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    release = serializers.UUIDField(source="release.public_id")
    bundle = serializers.CharField(source="release.bundle.name")
    version = serializers.CharField(source="release.bundle.version")
    state = serializers.CharField()
    hold_reason = serializers.CharField()
    target = serializers.CharField(help_text="The query that chose its devices; empty for all that it fits.")
    excluded = serializers.JSONField()
    progress = serializers.SerializerMethodField()

    def get_progress(self, rollout: RolloutRow) -> dict[str, Any]:  # untyped: the document says the hint
        """Return waves, counts by group and failures by cause."""
        found = self.context["progress"][rollout.pk]
        return {
            "devices": found.devices,
            "step": found.step.facts if found.step else None,
            "groups": found.groups,
            "budget": found.budget,
            "failures": [{"cause": cause, "devices": number} for cause, number in found.causes],
            "waves": WaveOut(found.waves, many=True).data,
            "patches": [
                {"format": one.format, "tried": one.tried, "failed": one.failed, "off": one.is_off}
                for one in self.context["patches"][rollout.pk]
            ],
        }


def _standing(rollouts_: Sequence[RolloutRow]) -> dict[str, object]:
    """Return what is shown of rollouts besides their rows, in a few queries however many they are."""
    return {
        "progress": rollout_rows.progress_of(rollouts_),
        "patches": patch_rows.in_rollouts([one.pk for one in rollouts_]),
    }


def _one_rollout(row: RolloutRow) -> Response:
    return Response(RolloutOut(row, context=_standing([row])).data)


class AssignmentOut(Output):
    """What one device shall install, and what it said about it."""

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
        """Return the newest messages of the device."""
        return list(self.context["messages"].get(assignment.pk, []))


class Assignments(View):
    """What devices shall install."""

    @list_schema(AssignmentOut, rollout_rows.AssignmentFilter)
    def get(self, request: Request) -> Response:
        """List assignments, newest first."""
        return list_answer(
            request,
            rollout_rows.assignments,
            AssignmentOut,
            rollout_rows.AssignmentFilter,
            lambda rows: {"messages": rollout_rows.messages_of(rows)},
        )


class TrustKeys(View):
    """Keys that vouch for artefacts."""

    @list_schema(TrustKeyOut)
    def get(self, request: Request) -> Response:
        """List trust keys."""
        return list_answer(request, bundle_rows.trust_keys, TrustKeyOut)

    @extend_schema(request=TrustKeyIn, responses={201: TrustKeyOut})
    def post(self, request: Request) -> Response:
        """Register a key."""
        made = trust_keys.add(actor=actor(request), **read(request, TrustKeyIn))
        return Response(TrustKeyOut(made).data, status=status.HTTP_201_CREATED)


class Bundles(View):
    """Bundles."""

    parser_classes = (parsers.MultiPartParser,)

    @list_schema(BundleOut, bundle_rows.BundleFilter)
    def get(self, request: Request) -> Response:
        """List bundles, newest first."""
        return list_answer(request, bundle_rows.bundles, BundleOut, bundle_rows.BundleFilter)

    @extend_schema(request={"multipart/form-data": OpenApiTypes.OBJECT}, responses={201: BundleOut})
    def post(self, request: Request) -> Response:
        """Upload a bundle: the part ``manifest`` (bundle.json) and a part ``files`` for each payload."""
        manifest, files = bundle_parts(request)
        made = bundles.upload(actor=actor(request), manifest=manifest, files=files)
        return Response(BundleOut(made).data, status=status.HTTP_201_CREATED)


class Bundle(View):
    """One bundle."""

    @extend_schema(responses=BundleOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a bundle with its verification report."""
        who = actor(request)
        return Response(BundleOut(bundle_rows.bundle(actor=who, public_id=public_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Delete a bundle that was never published, with its unpublished release."""
        who = actor(request)
        removals.delete_bundle(actor=who, bundle=bundle_rows.bundle(actor=who, public_id=public_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class FitOut(Output):
    """One bundle of a model against the hardware models that it is for."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    version = serializers.CharField()
    hardware = serializers.SerializerMethodField()

    def get_hardware(self, bundle: BundleRow) -> list[dict[str, Any]]:  # untyped: the document says the hint
        """Return for each hardware model whether it fits, and why not, as both are now."""
        known = self.context.get("released")
        found = [(model, fitting.reasons(bundle, model, known)) for model in bundle.hardware_models.all()]
        return [
            {
                "name": model.name,
                "fits": not why,
                "reasons": [one.to_dict() for one in why],
                "arena": fitting.facts(bundle, model).get("arena"),
            }
            for model, why in found
        ]


class Fit(View):
    """Which models fit which hardware."""

    @list_schema(FitOut)
    def get(self, request: Request) -> Response:
        """List bundles of models, newest first, against the hardware models that they are for."""
        known = fitting.released(actor(request).domain)
        return list_answer(request, fitting.models, FitOut, context=lambda _: {"released": known})


class Releases(View):
    """Releases."""

    @list_schema(ReleaseOut, bundle_rows.ReleaseFilter)
    def get(self, request: Request) -> Response:
        """List releases, newest first."""
        return list_answer(request, bundle_rows.releases, ReleaseOut, bundle_rows.ReleaseFilter)

    @extend_schema(request=ReleaseIn, responses={201: ReleaseOut})
    def post(self, request: Request) -> Response:
        """Prepare the release of a bundle for two officers to sign."""
        who, given = actor(request), read(request, ReleaseIn)
        bundle = bundle_rows.bundle(actor=who, public_id=given["bundle"])
        made = releases.prepare(actor=who, bundle=bundle, raise_floor=given["raise_floor"])
        return Response(ReleaseOut(made).data, status=status.HTTP_201_CREATED)


class Release(View):
    """One release."""

    @extend_schema(responses=ReleaseOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a release and who signed it."""
        who = actor(request)
        return Response(ReleaseOut(bundle_rows.release(actor=who, public_id=public_id)).data)


class ReleaseWithdraw(View):
    """Withdrawal."""

    @extend_schema(request=ReasonIn, responses=ReleaseOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Take a release back: it is offered no more, and ``withdrawal`` is what officers sign."""
        who, given = actor(request), read(request, ReasonIn)
        release = bundle_rows.release(actor=who, public_id=public_id)
        done = releases.withdraw(actor=who, release=release, reason=given["reason"])
        return Response(ReleaseOut(done).data)


class Rollouts(View):
    """Rollouts."""

    @list_schema(RolloutOut, rollout_rows.RolloutFilter)
    def get(self, request: Request) -> Response:
        """List rollouts, newest first."""
        return list_answer(request, rollout_rows.rollouts, RolloutOut, rollout_rows.RolloutFilter, _standing)

    @extend_schema(request=RolloutIn, responses={201: RolloutOut})
    def post(self, request: Request) -> Response:
        """Plan a rollout; start it by its own call."""
        who, given = actor(request), read(request, RolloutIn)
        made = rollouts.create(
            actor=who,
            name=given["name"],
            release=bundle_rows.release(actor=who, public_id=given["release"]),
            waves=[WavePlan(**wave) for wave in given["waves"]],
            thresholds=Thresholds(given["success_permille"], given["error_permille"]),
            target=given["target"],
        )
        return Response(RolloutOut(made, context=_standing([made])).data, status=status.HTTP_201_CREATED)


class Rollout(View):
    """One rollout."""

    @extend_schema(responses=RolloutOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a rollout and how it stands."""
        who = actor(request)
        return _one_rollout(rollout_rows.rollout(actor=who, public_id=public_id))


class RolloutAct(View):
    """What can be done to a rollout: start, pause, resume, abort."""

    @extend_schema(operation_id="rollout_act", request=Nothing, responses=RolloutOut)
    def post(self, request: Request, public_id: str, act: str) -> Response:
        """Do it."""
        who = actor(request)
        read(request, Nothing)
        rollout = rollout_rows.rollout(actor=who, public_id=public_id)
        getattr(rollouts, act)(actor=who, rollout=rollout)
        return _one_rollout(rollout_rows.rollout(actor=who, public_id=public_id))
