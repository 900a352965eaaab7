"""Devices, hardware models and incidents."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.contact_words import PRESENCES
from devices.incident_documents import Explanation, Reaction
from devices.models import Device as DeviceRow
from devices.models import Incident
from devices.names import AUDIENCES
from devices.services import children, hardware, incidents, registry
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Output, Text, View, read_fields
from fleet.api.documents import DescribedDocument
from fleet.api.lists import list_answer, list_schema
from fleet.api.parsers import MergePatchParser, StrictJSONParser
from ota.selectors import device_list
from ota.selectors.protection import protection_of
from ota.trust.protection import Protection

#: most memory that a hardware model can declare, in bytes: 1 TiB
MOST_BYTES = 1 << 40


#: reported and desired state of a device, as the OpenAPI document describes it
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
    """Attributes of a device that operators set."""

    site = Name(max_length=100, required=False, allow_blank=True, help_text="Site where the device is installed.")
    owner = Name(max_length=200, required=False, allow_blank=True, help_text="Owner of the device.")
    tags = serializers.ListField(
        child=Name(max_length=40),
        required=False,
        max_length=32,
        help_text="Tags of the device: lower-case letters, digits and . _ : -",
    )
    gateway = Name(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="Name of the gateway that connects the device; empty for none.",
    )
    audience = serializers.ChoiceField(
        choices=AUDIENCES,
        required=False,
        help_text="Audience of the device: it is offered only bundles that are signed for this audience.",
    )


class ChildIn(Input):
    """A device behind a gateway."""

    name = Name(max_length=64, help_text="Name of the new device.")
    hardware = Name(max_length=60, help_text="Name of the hardware model.")
    gateway = Name(max_length=100, help_text="Name of the gateway that connects the device.")


class TelemetryIn(Input):
    """Metrics that a hardware model may report, each with its privacy class."""

    telemetry = serializers.DictField(
        child=Text(), help_text="Map of metric name to privacy class: operational, personal or on_device_only."
    )


class RuntimeIn(Input):
    """What models the firmware of a hardware model can run; an empty map means unknown."""

    runtime = serializers.JSONField(
        help_text="Runtime, operators and types, see docs/reference/models.md. An empty map means unknown."
    )


class HardwareIn(Input):
    """A hardware model to register."""

    name = Name(max_length=60, help_text="Name of the hardware model.")
    vendor = Name(max_length=100, help_text="Domain name of the vendor.")
    flash_model = serializers.IntegerField(
        min_value=0,
        max_value=MOST_BYTES,
        default=0,
        help_text="Flash for a model, in bytes; 0 if the hardware runs no models.",
    )
    arena = serializers.IntegerField(
        min_value=0,
        max_value=MOST_BYTES,
        default=0,
        help_text="Tensor arena, in bytes; 0 if the hardware runs no models.",
    )


class IdentityOut(Output):
    """A verified hardware identity of a device."""

    kind = serializers.CharField()
    vendor = serializers.CharField()
    serial = serializers.CharField()
    verified_at = serializers.DateTimeField()


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
    tags = serializers.ListField(child=serializers.CharField())
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
        """Time of the last contact, compared with the polling interval: online, late, overdue or never.

        Null for a retired device.
        """
        return device.presence or None

    @extend_schema_field({"type": ["string", "null"], "format": "date-time"})
    def get_last_seen(self, device: DeviceRow) -> str | None:
        """Time of the last contact; null if there was none."""
        seen = self.context["seen"].get(device.pk)
        return seen.isoformat() if seen else None

    @extend_schema_field(VERSIONS)
    def get_versions(self, device: DeviceRow) -> dict[str, dict[str, str | None]]:
        """Current and target version of each component."""
        twin = getattr(device, "twin", None)
        current = twin.reported.get("components", {}) if twin else {}
        target = twin.desired.get("components", {}) if twin else {}
        return {
            name: {"current": current.get(name, {}).get("version"), "target": target.get(name, {}).get("version")}
            for name in sorted({*current, *target})
        }

    @extend_schema_field(IdentityOut(many=True))
    def get_identities(self, device: DeviceRow) -> list[dict[str, str]]:
        """Hardware identities that the device has proved."""
        return [
            {
                "kind": identity.kind,
                "vendor": identity.vendor,
                "serial": identity.serial,
                "verified_at": identity.verified_at.isoformat(),
            }
            for identity in device.identities.all()
        ]

    def get_protection(self, device: DeviceRow) -> str:
        """Protection grade: full, manifest, vendor or unproven; empty if the device has never polled."""
        return self._protection(device).grade

    def get_protection_basis(self, device: DeviceRow) -> list[str]:
        """Evidence for the protection grade, and what a better grade requires."""
        return list(self._protection(device).basis)

    def _protection(self, device: DeviceRow) -> Protection:
        """Return the grade that was computed once for both fields."""
        protection: Protection = self.context["protection"][device.pk]
        return protection

    def get_reported(self, device: DeviceRow) -> dict[str, Any]:  # untyped: the API document repeats the type hint
        """Components and settings that the device reports as installed."""
        twin = getattr(device, "twin", None)
        return dict(twin.reported) if twin else {}

    def get_desired(self, device: DeviceRow) -> dict[str, Any]:  # untyped: the API document repeats the type hint
        """Desired state of the device."""
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
    explanation = DescribedDocument(Explanation, help_text="Evidence for the incident.")
    reaction = DescribedDocument(Reaction, help_text="Automatic actions, or the reason why there are none.")
    verdict = serializers.CharField()
    opened_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class CloseIn(Input):
    """The verdict on an incident."""

    verdict = serializers.ChoiceField(choices=Incident.Verdict.values, help_text="What the incident turned out to be.")


def _beside(devices_: Sequence[DeviceRow]) -> dict[str, object]:
    """Return what stands beside devices: when they were last heard, in one query, and how they are protected."""
    return {
        "seen": selectors.last_seen(device.pk for device in devices_),
        "protection": {device.pk: protection_of(device) for device in devices_},
    }


def one_device(device: DeviceRow, code: int = status.HTTP_200_OK) -> Response:
    """Return the answer that shows one device."""
    return Response(DeviceOut(device, context=_beside([device])).data, status=code)


class HardwareModels(View):
    """Hardware models."""

    @list_schema(HardwareOut)
    def get(self, request: Request) -> Response:
        """List hardware models."""
        return list_answer(request, selectors.hardware_models, HardwareOut)

    @extend_schema(request=HardwareIn, responses={201: HardwareOut})
    def post(self, request: Request) -> Response:
        """Register a hardware model."""
        created = hardware.register_model(actor=api_actor(request), **read_fields(request, HardwareIn))
        return Response(HardwareOut(created).data, status=status.HTTP_201_CREATED)


class HardwareTelemetry(View):
    """Metrics of a hardware model."""

    @extend_schema(request=TelemetryIn, responses=HardwareOut)
    def put(self, request: Request, public_id: str) -> Response:
        """Set the privacy class of each metric of a hardware model. `on_device_only` metrics never leave the device."""
        who = api_actor(request)
        model = selectors.hardware_model_by_id(actor=who, public_id=public_id)
        changed = hardware.classify_metrics(actor=who, model=model, **read_fields(request, TelemetryIn))
        return Response(HardwareOut(changed).data)


class HardwareRuntime(View):
    """Model runtime of a hardware model."""

    @extend_schema(request=RuntimeIn, responses=HardwareOut)
    def put(self, request: Request, public_id: str) -> Response:
        """Set the runtime, operators and types of a hardware model's firmware. Later compatibility checks use them."""
        who = api_actor(request)
        model = selectors.hardware_model_by_id(actor=who, public_id=public_id)
        changed = hardware.set_runtime_profile(
            actor=who, model=model, profile=read_fields(request, RuntimeIn)["runtime"]
        )
        return Response(HardwareOut(changed).data)


class Devices(View):
    """The device registry."""

    @list_schema(DeviceOut, device_list.FleetFilter)
    def get(self, request: Request) -> Response:
        """List devices, newest first."""
        return list_answer(request, device_list.identified_fleet, DeviceOut, _beside)

    @extend_schema(request=ChildIn, responses={201: DeviceOut})
    def post(self, request: Request) -> Response:
        """Register a device behind a gateway. All other devices register themselves when they enrol."""
        who, given = api_actor(request), read_fields(request, ChildIn)
        model = selectors.hardware_model(actor=who, name=given["hardware"])
        gateway = selectors.device_by_name(actor=who, name=given["gateway"])
        created = children.register_child(actor=who, name=given["name"], hardware_model=model, gateway=gateway)
        return one_device(created, status.HTTP_201_CREATED)


class DeviceView(View):
    """One device."""

    parser_classes = (StrictJSONParser, MergePatchParser)

    @extend_schema(responses=DeviceOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a device."""
        who = api_actor(request)
        return one_device(selectors.get_device(actor=who, public_id=public_id))

    @extend_schema(request=DescriptionIn, responses=DeviceOut)
    def patch(self, request: Request, public_id: str) -> Response:
        """Change a device's site, owner, tags, gateway or audience. Omitted fields keep their values."""
        who = api_actor(request)
        device = selectors.get_device(actor=who, public_id=public_id)
        given = read_fields(request, DescriptionIn)
        audience = given.pop("audience", "")
        registry.describe_device(actor=who, device=device, **given)
        if audience:
            registry.use_as(actor=who, device=device, audience=audience)
        return one_device(selectors.get_device(actor=who, public_id=public_id))


class Incidents(View):
    """Incidents: detected changes of behaviour."""

    @list_schema(IncidentOut, selectors.IncidentFilter)
    def get(self, request: Request) -> Response:
        """List incidents, newest first."""
        return list_answer(request, selectors.listed_incidents, IncidentOut)


class IncidentView(View):
    """One incident."""

    @extend_schema(responses=IncidentOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return an incident with its explanation."""
        who = api_actor(request)
        return Response(IncidentOut(selectors.get_incident(actor=who, public_id=public_id)).data)


class IncidentClose(View):
    """Close an incident."""

    @extend_schema(request=CloseIn, responses=IncidentOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Close an incident with a verdict."""
        given = read_fields(request, CloseIn)
        done = incidents.close(actor=api_actor(request), public_id=public_id, verdict=given["verdict"])
        return Response(IncidentOut(done).data)
