"""Actions on one device, one path each: quarantine, release, suspend, resume, return, retire, decommission."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.services import quarantine, registry
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Nothing, ReasonIn, View, read_fields
from fleet.api.devices import DeviceOut, one_device


class DecommissionIn(Input):
    """The device's name, to confirm an action that cannot be undone."""

    name = Name(max_length=100, help_text="Name of the device, as confirmation. The action cannot be undone.")


class _Act(View):
    """One action; its service takes ``actor``, ``device`` and the fields of the body."""

    service: ClassVar[Callable[..., object]]

    def act(self, request: Request, public_id: str, given: Mapping[str, object]) -> Response:
        """Perform the action, and return the device as it is afterwards."""
        who = api_actor(request)
        type(self).service(actor=who, device=selectors.get_device(actor=who, public_id=public_id), **given)
        return one_device(selectors.get_device(actor=who, public_id=public_id))


class Quarantine(_Act):
    """Quarantine a device."""

    service = staticmethod(quarantine.quarantine_device)

    @extend_schema(request=ReasonIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Quarantine a device. It can still poll and report, but is offered only the update that repairs it."""
        return self.act(request, public_id, read_fields(request, ReasonIn))


class ReleaseFromQuarantine(_Act):
    """Release a device from quarantine."""

    service = staticmethod(quarantine.release_device)

    @extend_schema(request=ReasonIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Release a device from quarantine."""
        return self.act(request, public_id, read_fields(request, ReasonIn))


class Suspend(_Act):
    """Suspend a device."""

    service = staticmethod(registry.suspend_device)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Suspend an active device. The server rejects its requests until it is resumed."""
        return self.act(request, public_id, read_fields(request, Nothing))


class Resume(_Act):
    """Resume a device."""

    service = staticmethod(registry.resume_device)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Resume a suspended device."""
        return self.act(request, public_id, read_fields(request, Nothing))


class Return(_Act):
    """Return a device to its manufacturer."""

    service = staticmethod(registry.send_back)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Take a device out of service and revoke its certificates. It can enrol again with a new token."""
        return self.act(request, public_id, read_fields(request, Nothing))


class Retire(_Act):
    """Retire a device."""

    service = staticmethod(registry.retire_device)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Retire a device permanently and revoke its certificates. Its data are kept."""
        return self.act(request, public_id, read_fields(request, Nothing))


class Decommission(View):
    """Decommission a device."""

    @extend_schema(request=DecommissionIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Retire a device permanently and erase its personal data. Confirm with the device's name in ``name``."""
        who, given = api_actor(request), read_fields(request, DecommissionIn)
        device = selectors.get_device(actor=who, public_id=public_id)
        done = registry.decommission(actor=who, device=device, confirmed=given["name"])
        return one_device(done)
