"""Data to and from devices: commands, configuration, logs and telemetry; and device groups."""

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
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Nothing, Output, Text, View, asked_of, read_fields
from fleet.api.lists import list_answer, list_schema, query_schema
from fleet.api.parsers import MergePatchParser, StrictJSONParser
from ota.models import Command
from ota.selectors import commands as command_rows
from ota.services import commands
from pki.kernel.errors import InvalidError

PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


@extend_schema_field({"type": "array", "items": PAIR})
class PairsField(serializers.ListField):
    """Pairs of time and value."""


class CommandIn(Input):
    """A command for a device."""

    kind = serializers.ChoiceField(choices=Command.Kind.values, help_text="Command for the device.")
    reason = Text(max_length=300, help_text="Reason for the command. It is recorded in the audit log.")
    minutes = serializers.IntegerField(
        min_value=commands.LEAST_MINUTES,
        max_value=commands.MOST_MINUTES,
        default=60,
        help_text="Time until the command expires, in minutes.",
    )


class CommandOut(Output):
    """A command and its result."""

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
    """A log from a device."""

    at = serializers.DateTimeField()
    reason = serializers.CharField()
    text = serializers.CharField()


class GroupIn(Input):
    """A device group: a list, or a query."""

    name = Name(max_length=60, help_text="Name of the group.")
    query = Text(
        max_length=1000,
        default="",
        allow_blank=True,
        help_text="Query that selects the devices; empty for a group with a list of devices.",
    )


class MembersIn(Input):
    """Names of devices to add to a listed group and to remove from it."""

    add = serializers.ListField(
        child=Name(max_length=100), default=list, max_length=1000, help_text="Names of devices to add."
    )
    remove = serializers.ListField(
        child=Name(max_length=100), default=list, max_length=1000, help_text="Names of devices to remove."
    )


class GroupOut(Output):
    """A device group."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    query = serializers.CharField()
    created_at = serializers.DateTimeField()


class TwinOut(Output):
    """Desired configuration, reported configuration, and the difference."""

    desired = serializers.DictField()
    desired_version = serializers.IntegerField()
    config_version = serializers.IntegerField(help_text="Version of the desired configuration; the ETag contains it.")
    config_fetched = serializers.BooleanField(help_text="Whether the device has fetched that version.")
    reported = serializers.DictField()
    reported_version = serializers.IntegerField()
    delta = serializers.DictField(help_text="Members of `desired` that are missing or different in `reported`.")


IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    required=True,
    description="ETag of the twin from your last read.",
)


class DeviceCommands(View):
    """Commands for one device."""

    @extend_schema(request=CommandIn, responses={201: CommandOut})
    def post(self, request: Request, public_id: str) -> Response:
        """Queue a command for the device's next poll. If an identical command is pending, that command is returned."""
        who, given = api_actor(request), read_fields(request, CommandIn)
        device = selectors.get_device(actor=who, public_id=public_id)
        created = commands.queue_command(actor=who, device=device, **given)
        return Response(CommandOut(created).data, status=status.HTTP_201_CREATED)


class CommandsView(View):
    """All commands."""

    @list_schema(CommandOut, command_rows.CommandFilter)
    def get(self, request: Request) -> Response:
        """List commands, newest first."""
        return list_answer(request, command_rows.list_commands, CommandOut)


class CommandCancel(View):
    """Cancel a command."""

    @extend_schema(request=Nothing, responses=CommandOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Cancel a command."""
        who = api_actor(request)
        read_fields(request, Nothing)
        command = command_rows.get_command(actor=who, public_id=public_id)
        return Response(CommandOut(commands.cancel(actor=who, command=command)).data)


class TwinView(View):
    """Device twin: desired and reported configuration."""

    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=TwinOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return the device twin. Its ETag is the version of the desired configuration."""
        who = api_actor(request)
        return _twin(selectors.get_device(actor=who, public_id=public_id).twin)

    @extend_schema(request=OpenApiTypes.OBJECT, responses=TwinOut, parameters=[IF_MATCH])
    def patch(self, request: Request, public_id: str) -> Response:
        """Change the desired configuration with a JSON Merge Patch. Send the ETag of your last read in If-Match."""
        who = api_actor(request)
        device = selectors.get_device(actor=who, public_id=public_id)
        if not isinstance(request.data, dict):
            msg = "The body must be a JSON object: a JSON Merge Patch (RFC 7396) of the configuration."
            raise InvalidError(msg)
        seen = request.headers.get("If-Match", "")
        return _twin(twins.desire_config(actor=who, device=device, patch=dict(request.data), if_match=seen))


class Logs(View):
    """Logs from devices."""

    @list_schema(LogOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the newest logs of a device."""
        device = selectors.get_device(actor=api_actor(request), public_id=public_id)
        return list_answer(request, partial(selectors.device_logs, device=device), LogOut)


class SeriesOut(Output):
    """Values of one metric."""

    metric = serializers.CharField()
    values = PairsField(help_text="Pairs of Unix time in milliseconds and value, oldest first.")


class Telemetry(View):
    """Telemetry of a device."""

    @query_schema(selectors.SeriesFilter, SeriesOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return the values of one metric as [Unix milliseconds, value], oldest first. Default period: the last day."""
        device, asked = selectors.get_device(actor=api_actor(request), public_id=public_id), asked_of(request)
        return Response({"metric": asked.metric, "values": selectors.series_asked(device, asked)})


class NetworkOut(Output):
    """A network from which a device has connected."""

    prefix = serializers.CharField()
    first_seen = serializers.DateTimeField()
    last_tick = serializers.IntegerField()


class BehaviourOut(Output):
    """Metrics of each tick: traffic at the listeners, and device telemetry."""

    tick_s = serializers.IntegerField()
    metrics = serializers.DictField(
        child=PairsField(), help_text="Map of metric name to pairs of tick and value, oldest first."
    )
    networks = NetworkOut(many=True)


class BehaviourView(View):
    """Behaviour metrics of a device, per tick (``docs/reference/metrics.md``)."""

    @query_schema(selectors.BehaviourFilter, BehaviourOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return [tick, value] of each metric for the last ``ticks`` ticks, and the networks of the device."""
        who = api_actor(request)
        device = selectors.get_device(actor=who, public_id=public_id)
        values = {
            "tick_s": settings.FLEET_DRIFT_TICK_S,
            "metrics": selectors.read_behaviour(device, int(asked_of(request).ticks)),
            "networks": selectors.source_networks(device),
        }
        return Response(BehaviourOut(values).data)


class Groups(View):
    """Device groups."""

    @list_schema(GroupOut)
    def get(self, request: Request) -> Response:
        """List device groups."""
        return list_answer(request, selectors.list_groups, GroupOut)

    @extend_schema(request=GroupIn, responses={201: GroupOut})
    def post(self, request: Request) -> Response:
        """Create a device group."""
        given = read_fields(request, GroupIn)
        created = groups.create(actor=api_actor(request), name=given["name"], query_text=given["query"])
        return Response(GroupOut(created).data, status=status.HTTP_201_CREATED)


class GroupView(View):
    """One device group."""

    @extend_schema(responses=GroupOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a device group. List its devices with ``/devices?group=NAME``."""
        who = api_actor(request)
        return Response(GroupOut(selectors.get_group(actor=who, public_id=public_id)).data)

    @extend_schema(request=MembersIn, responses=GroupOut)
    def patch(self, request: Request, public_id: str) -> Response:
        """Add devices to a listed group, or remove them."""
        who, given = api_actor(request), read_fields(request, MembersIn)
        group = selectors.get_group(actor=who, public_id=public_id)
        lists = {side: selectors.devices_by_names(actor=who, names=given[side]) for side in ("add", "remove")}
        return Response(GroupOut(groups.change_members(actor=who, group=group, **lists)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Delete a device group. Its devices are not changed."""
        who = api_actor(request)
        groups.delete(actor=who, group=selectors.get_group(actor=who, public_id=public_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _twin(twin: TwinRow) -> Response:
    body = {
        "desired": twin.desired,
        "desired_version": twin.desired_version,
        "config_version": twin.config_version,
        "config_fetched": twin.config_fetched >= twin.config_version,
        "reported": twin.reported,
        "reported_version": twin.reported_version,
        "delta": twins.twin_delta(twin),
    }
    return Response(body, headers={"ETag": twins.section_tag("d", twin.config_version)})
