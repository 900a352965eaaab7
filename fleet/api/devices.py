"""Devices, hardware models, enrolment tokens, incidents."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.contact_words import PRESENCES
from devices.models import Device as DeviceRow
from devices.models import Incident
from devices.names import AUDIENCES
from devices.services import children, hardware, incidents, registry
from fleet.api.auth import actor
from fleet.api.base import Input, Name, Output, Text, View, read
from fleet.api.lists import list_answer, list_schema
from fleet.api.parsers import MergePatchParser, StrictJSONParser
from ota.selectors import device_list
from ota.selectors.protection import protection_of

#: of memory that a hardware model may claim: a tebibyte
MOST_BYTES = 1 << 40


#: what a device runs and is meant to run, as the OpenAPI document says it
VERSIONS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"current": {"type": ["string", "null"]}, "target": {"type": ["string", "null"]}},
        "required": ["current", "target"],
    },
}


class HardwareOut(Output):
    """A hardware model."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    vendor = serializers.CharField()
    vendor_id = serializers.UUIDField()
    class_id = serializers.UUIDField()
    flash_model = serializers.IntegerField()
    arena = serializers.IntegerField()
    telemetry = serializers.DictField(child=serializers.CharField())
    runtime = serializers.JSONField()


class DescriptionIn(Input):
    """What people say of a device."""

    site = Name(max_length=100, required=False, allow_blank=True, help_text="Where it is installed.")
    owner = Name(max_length=200, required=False, allow_blank=True, help_text="Who owns it.")
    tags = serializers.ListField(
        child=Name(max_length=40),
        required=False,
        max_length=32,
        help_text="Its tags: small letters, digits and . _ : -",
    )
    gateway = Name(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="Name of the gateway that it is connected through; empty for none.",
    )
    audience = serializers.ChoiceField(
        choices=AUDIENCES,
        required=False,
        help_text="What it is used as: only bundles signed for this audience are offered.",
    )


class ChildIn(Input):
    """A device behind a gateway."""

    name = Name(max_length=64, help_text="Name of the new device.")
    hardware = Name(max_length=60, help_text="Name of its hardware model.")
    gateway = Name(max_length=100, help_text="Name of the device that speaks for it.")


class TelemetryIn(Input):
    """Which metrics a hardware model may report: name to operational, personal or on_device_only."""

    telemetry = serializers.DictField(
        child=Text(), help_text="Metric to its class: operational, personal or on_device_only."
    )


class RuntimeIn(Input):
    """What the firmware of a hardware model can run of models; an empty map says nothing."""

    runtime = serializers.JSONField(
        help_text="Runtime, operators and types, see docs/reference/models.md; an empty map says nothing."
    )


class HardwareIn(Input):
    """A hardware model to register."""

    name = Name(max_length=60, help_text="Its name.")
    vendor = Name(max_length=100, help_text="Domain name of its vendor.")
    flash_model = serializers.IntegerField(
        min_value=0, max_value=MOST_BYTES, default=0, help_text="Flash for a model, in bytes; 0 if it takes no models."
    )
    arena = serializers.IntegerField(
        min_value=0, max_value=MOST_BYTES, default=0, help_text="Tensor arena, in bytes; 0 if it takes no models."
    )


class DeviceOut(Output):
    """A device."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    hardware = serializers.CharField(source="hardware_model.name")
    state = serializers.CharField()
    quarantined = serializers.BooleanField()
    quarantine_reason = serializers.CharField()
    site = serializers.CharField()
    owner = serializers.CharField()
    tags = serializers.JSONField()
    gateway = serializers.CharField(source="parent.name", allow_null=True, default=None)
    audience = serializers.CharField()
    enrolled_at = serializers.DateTimeField(allow_null=True)
    presence = serializers.SerializerMethodField()
    last_seen = serializers.SerializerMethodField()
    versions = serializers.SerializerMethodField()
    protection = serializers.SerializerMethodField()
    protection_basis = serializers.SerializerMethodField()
    reported = serializers.SerializerMethodField()
    desired = serializers.SerializerMethodField()
    identities = serializers.SerializerMethodField()

    @extend_schema_field({"type": ["string", "null"], "enum": [*PRESENCES, None]})
    def get_presence(self, device: DeviceRow) -> str | None:
        """Return online, late, overdue or never: when it was last heard, compared with its polling interval.

        Null for a device that is retired.
        """
        return device.presence or None

    @extend_schema_field({"type": ["string", "null"], "format": "date-time"})
    def get_last_seen(self, device: DeviceRow) -> str | None:
        """Return when the device was last heard, or null if it never was."""
        seen = self.context["seen"].get(device.pk)
        return seen.isoformat() if seen else None

    @extend_schema_field(VERSIONS)
    def get_versions(self, device: DeviceRow) -> dict[str, dict[str, str | None]]:
        """Return for each component the version that the device reports, and the one that it is meant to run."""
        twin = getattr(device, "twin", None)
        current = twin.reported.get("components", {}) if twin else {}
        target = twin.desired.get("components", {}) if twin else {}
        return {
            name: {"current": current.get(name, {}).get("version"), "target": target.get(name, {}).get("version")}
            for name in sorted({*current, *target})
        }

    # untyped: the API document says what the hint says
    def get_identities(self, device: DeviceRow) -> list[dict[str, Any]]:
        """Return the identities in hardware that the device has proved."""
        return [
            {"kind": one.kind, "vendor": one.vendor, "serial": one.serial, "verified_at": one.verified_at.isoformat()}
            for one in device.identities.all()
        ]

    def get_protection(self, device: DeviceRow) -> str:
        """Return the protection grade: full, manifest, vendor, unproven, or nothing when the device never asked."""
        return protection_of(device).grade

    def get_protection_basis(self, device: DeviceRow) -> list[str]:
        """Return what the protection grade rests on, and what is missing for a better one."""
        return list(protection_of(device).basis)

    def get_reported(self, device: DeviceRow) -> dict[str, Any]:  # untyped: the API document says what the hint says
        """Return what the device says it runs."""
        twin = getattr(device, "twin", None)
        return dict(twin.reported) if twin else {}

    def get_desired(self, device: DeviceRow) -> dict[str, Any]:  # untyped: the API document says what the hint says
        """Return what the device shall run."""
        twin = getattr(device, "twin", None)
        return dict(twin.desired) if twin else {}


class IncidentOut(Output):
    """An incident."""

    id = serializers.UUIDField(source="public_id")
    device = serializers.CharField(source="device.name")
    state = serializers.CharField()
    layer = serializers.CharField(source="layer_now")
    severity = serializers.CharField()
    score = serializers.FloatField()
    explanation = serializers.JSONField()
    reaction = serializers.JSONField()
    verdict = serializers.CharField()
    opened_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class CloseIn(Input):
    """What an incident turned out to be."""

    verdict = serializers.ChoiceField(choices=Incident.Verdict.values, help_text="What it turned out to be.")


def _heard(devices_: Sequence[DeviceRow]) -> dict[str, object]:
    """Return when devices were last heard, in one query however many they are."""
    return {"seen": selectors.last_seen(one.pk for one in devices_)}


def one_device(device: DeviceRow, code: int = status.HTTP_200_OK) -> Response:
    """Return the answer that shows one device."""
    return Response(DeviceOut(device, context=_heard([device])).data, status=code)


class HardwareModels(View):
    """Kinds of devices."""

    @list_schema(HardwareOut)
    def get(self, request: Request) -> Response:
        """List hardware models."""
        return list_answer(request, selectors.hardware_models, HardwareOut)

    @extend_schema(request=HardwareIn, responses={201: HardwareOut})
    def post(self, request: Request) -> Response:
        """Register a hardware model."""
        made = hardware.register(actor=actor(request), **read(request, HardwareIn))
        return Response(HardwareOut(made).data, status=status.HTTP_201_CREATED)


class HardwareTelemetry(View):
    """What a hardware model may report."""

    @extend_schema(request=TelemetryIn, responses=HardwareOut)
    def put(self, request: Request, public_id: str) -> Response:
        """Say which metrics it may report, and which must not leave the device."""
        who = actor(request)
        model = selectors.hardware_model_by_id(actor=who, public_id=public_id)
        changed = hardware.classify(actor=who, model=model, **read(request, TelemetryIn))
        return Response(HardwareOut(changed).data)


class HardwareRuntime(View):
    """What the firmware of a hardware model can run."""

    @extend_schema(request=RuntimeIn, responses=HardwareOut)
    def put(self, request: Request, public_id: str) -> Response:
        """Say which runtime, operators and types its firmware has; the fit gate compares from now on."""
        who = actor(request)
        model = selectors.hardware_model_by_id(actor=who, public_id=public_id)
        changed = hardware.describe(actor=who, model=model, profile=read(request, RuntimeIn)["runtime"])
        return Response(HardwareOut(changed).data)


class Devices(View):
    """The registry."""

    @list_schema(DeviceOut, device_list.FleetFilter)
    def get(self, request: Request) -> Response:
        """List devices, newest first."""
        return list_answer(request, device_list.identified_fleet, DeviceOut, _heard)

    @extend_schema(request=ChildIn, responses={201: DeviceOut})
    def post(self, request: Request) -> Response:
        """Register a device that a gateway speaks for; every other one registers itself by enrolling."""
        who, given = actor(request), read(request, ChildIn)
        model = selectors.hardware_model(actor=who, name=given["hardware"])
        gateway = selectors.device_by_name(actor=who, name=given["gateway"])
        made = children.register(actor=who, name=given["name"], hardware_model=model, gateway=gateway)
        return one_device(made, status.HTTP_201_CREATED)


class Device(View):
    """One device."""

    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=DeviceOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a device by its public id."""
        who = actor(request)
        return one_device(selectors.device(actor=who, public_id=public_id))

    @extend_schema(request=DescriptionIn, responses=DeviceOut)
    def patch(self, request: Request, public_id: str) -> Response:
        """Describe a device: site, owner, tags, gateway and audience; members that are left out stay as they are."""
        who = actor(request)
        found = selectors.device(actor=who, public_id=public_id)
        given = read(request, DescriptionIn)
        audience = given.pop("audience", "")
        registry.describe(actor=who, device=found, **given)
        if audience:
            registry.use_as(actor=who, device=found, audience=audience)
        return one_device(selectors.device(actor=who, public_id=public_id))


class Incidents(View):
    """Flagged changes of behaviour."""

    @list_schema(IncidentOut, selectors.IncidentFilter)
    def get(self, request: Request) -> Response:
        """List incidents, newest first."""
        return list_answer(request, selectors.incidents, IncidentOut)


class IncidentView(View):
    """One incident."""

    @extend_schema(responses=IncidentOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return an incident with its explanation."""
        who = actor(request)
        return Response(IncidentOut(selectors.incident(actor=who, public_id=public_id)).data)


class IncidentClose(View):
    """The end of an incident."""

    @extend_schema(request=CloseIn, responses=IncidentOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Close an incident with its verdict."""
        given = read(request, CloseIn)
        done = incidents.close(actor=actor(request), public_id=public_id, verdict=given["verdict"])
        return Response(IncidentOut(done).data)
