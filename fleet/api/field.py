"""What is sent to devices and comes back: commands, configuration, logs, telemetry; and groups of them."""

from functools import partial

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.models import Twin as TwinRow
from devices.services import groups, twins
from fleet.api.auth import actor
from fleet.api.base import Input, Name, Nothing, Output, Text, View, asked_of, read
from fleet.api.lists import list_answer, list_schema, query_schema
from fleet.api.parsers import MergePatchParser, StrictJSONParser
from ota.models import Command
from ota.selectors import commands as command_rows
from ota.services import commands
from pki.kernel.errors import InvalidError

PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


@extend_schema_field({"type": "array", "items": PAIR})
class PairsField(serializers.ListField):
    """Pairs of a time and a value."""


class CommandIn(Input):
    """A word for a device."""

    kind = serializers.ChoiceField(choices=Command.Kind.values, help_text="What the device is to do.")
    reason = Text(max_length=300, help_text="Why; it stands in the audit log.")
    minutes = serializers.IntegerField(
        min_value=commands.LEAST_MINUTES,
        max_value=commands.MOST_MINUTES,
        default=60,
        help_text="How long the command waits for the device, in minutes.",
    )


class CommandOut(Output):
    """A command and what came of it."""

    id = serializers.UUIDField(source="public_id")
    device = serializers.CharField(source="device.name")
    kind = serializers.CharField()
    state = serializers.CharField()
    reason = serializers.CharField()
    result = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class LogOut(Output):
    """A log that a device sent."""

    at = serializers.DateTimeField()
    reason = serializers.CharField()
    text = serializers.CharField()


class GroupIn(Input):
    """A group: listed, or by query."""

    name = Name(max_length=60, help_text="Its name.")
    query = Text(
        max_length=1000,
        default="",
        allow_blank=True,
        help_text="Query that chooses its devices; empty for a listed group.",
    )


class MembersIn(Input):
    """Names of devices to add to a listed group and to take out of it."""

    add = serializers.ListField(
        child=Name(max_length=100), default=list, max_length=1000, help_text="Names of devices to add."
    )
    remove = serializers.ListField(
        child=Name(max_length=100), default=list, max_length=1000, help_text="Names of devices to take out."
    )


class GroupOut(Output):
    """A group."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    query = serializers.CharField()
    created_at = serializers.DateTimeField()


class TwinOut(Output):
    """What a device shall be, what it says it is, and what it still has to change."""

    desired = serializers.DictField()
    desired_version = serializers.IntegerField()
    config_version = serializers.IntegerField(help_text="Version of the desired configuration; the ETag names it.")
    config_fetched = serializers.BooleanField(help_text="Whether the device has fetched that version.")
    reported = serializers.DictField()
    reported_version = serializers.IntegerField()
    delta = serializers.DictField(help_text="Members of `desired` that `reported` does not have so.")


IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=True,
    description="The ETag of the twin that you have read.",
)


class DeviceCommands(View):
    """Commands for one device."""

    @extend_schema(request=CommandIn, responses={201: CommandOut})
    def post(self, request: Request, public_id: str) -> Response:
        """Leave a command; the device finds it at its next poll. The same one that waits already is returned."""
        who, given = actor(request), read(request, CommandIn)
        device = selectors.device(actor=who, public_id=public_id)
        made = commands.give(actor=who, device=device, **given)
        return Response(CommandOut(made).data, status=status.HTTP_201_CREATED)


class Commands(View):
    """All commands."""

    @list_schema(CommandOut, command_rows.CommandFilter)
    def get(self, request: Request) -> Response:
        """List commands, newest first."""
        return list_answer(request, command_rows.commands, CommandOut)


class CommandCancel(View):
    """The end of a command."""

    @extend_schema(request=Nothing, responses=CommandOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Take a command back."""
        who = actor(request)
        read(request, Nothing)
        found = command_rows.command(actor=who, public_id=public_id)
        return Response(CommandOut(commands.cancel(actor=who, command=found)).data)


class Twin(View):
    """What a device shall be, and says it is."""

    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=TwinOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return the twin; the ETag is the version of the desired configuration."""
        who = actor(request)
        return _twin(selectors.device(actor=who, public_id=public_id).twin)

    @extend_schema(request=OpenApiTypes.OBJECT, responses=TwinOut, parameters=[IF_MATCH])
    def patch(self, request: Request, public_id: str) -> Response:
        """Change the desired configuration by JSON Merge Patch; If-Match names the version that you have read."""
        who = actor(request)
        device = selectors.device(actor=who, public_id=public_id)
        if not isinstance(request.data, dict):
            msg = "Send a JSON Merge Patch (RFC 7396) of the configuration: a map."
            raise InvalidError(msg)
        seen = request.headers.get("If-Match", "")
        return _twin(twins.desire_config(actor=who, device=device, patch=dict(request.data), if_match=seen))


class Logs(View):
    """Logs that a device has sent."""

    @list_schema(LogOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the newest logs of a device."""
        device = selectors.device(actor=actor(request), public_id=public_id)
        return list_answer(request, partial(selectors.device_logs, device=device), LogOut)


class SeriesOut(Output):
    """Values of one metric."""

    metric = serializers.CharField()
    values = PairsField(help_text="[unix milliseconds, value], oldest first.")


class Telemetry(View):
    """Values that a device has sent as series."""

    @query_schema(selectors.SeriesFilter, SeriesOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return [[unix milliseconds, value], …] of one metric, oldest first; the last day unless told otherwise."""
        device, asked = selectors.device(actor=actor(request), public_id=public_id), asked_of(request)
        return Response({"metric": asked.metric, "values": selectors.series_asked(device, asked)})


class NetworkOut(Output):
    """A network that a device was heard from."""

    prefix = serializers.CharField()
    first_seen = serializers.DateTimeField()
    last_tick = serializers.IntegerField()


class BehaviourOut(Output):
    """What doors saw and devices said in each tick."""

    tick_s = serializers.IntegerField()
    metrics = serializers.DictField(child=PairsField(), help_text="Metric to [tick, value], oldest first.")
    networks = NetworkOut(many=True)


class Behaviour(View):
    """What is known of a device's behaviour, tick by tick (``docs/reference/metrics.md``)."""

    @query_schema(selectors.BehaviourFilter, BehaviourOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return each metric's [[tick, value], …] of the last ``ticks`` ticks, and the networks it was heard from."""
        who = actor(request)
        device = selectors.device(actor=who, public_id=public_id)
        found = {
            "tick_s": settings.FLEET_DRIFT_TICK_S,
            "metrics": selectors.behaviour(device, int(asked_of(request).ticks)),
            "networks": selectors.source_networks(device),
        }
        return Response(BehaviourOut(found).data)


class Groups(View):
    """Groups of devices."""

    @list_schema(GroupOut)
    def get(self, request: Request) -> Response:
        """List groups."""
        return list_answer(request, selectors.groups, GroupOut)

    @extend_schema(request=GroupIn, responses={201: GroupOut})
    def post(self, request: Request) -> Response:
        """Make a group."""
        given = read(request, GroupIn)
        made = groups.create(actor=actor(request), name=given["name"], query_text=given["query"])
        return Response(GroupOut(made).data, status=status.HTTP_201_CREATED)


class Group(View):
    """One group."""

    @extend_schema(responses=GroupOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a group; its devices are listed by ``/devices?group=NAME``."""
        who = actor(request)
        return Response(GroupOut(selectors.group(actor=who, public_id=public_id)).data)

    @extend_schema(request=MembersIn, responses=GroupOut)
    def patch(self, request: Request, public_id: str) -> Response:
        """Add devices and take others out."""
        who, given = actor(request), read(request, MembersIn)
        group = selectors.group(actor=who, public_id=public_id)
        lists = {side: selectors.devices_by_names(actor=who, names=given[side]) for side in ("add", "remove")}
        return Response(GroupOut(groups.change_members(actor=who, group=group, **lists)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Take a group away; its devices stay."""
        who = actor(request)
        groups.delete(actor=who, group=selectors.group(actor=who, public_id=public_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _twin(twin: TwinRow) -> Response:
    body = {
        "desired": twin.desired,
        "desired_version": twin.desired_version,
        "config_version": twin.config_version,
        "config_fetched": twin.config_fetched >= twin.config_version,
        "reported": twin.reported,
        "reported_version": twin.reported_version,
        "delta": twins.delta(twin),
    }
    return Response(body, headers={"ETag": twins.tag("d", twin.config_version)})
