"""What can be done to a device, an address each: quarantine, release, suspend, resume, return, retire, decommission."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.services import quarantine, registry
from fleet.api.auth import actor
from fleet.api.base import Input, Name, Nothing, ReasonIn, View, read
from fleet.api.devices import DeviceOut, one_device


class DecommissionIn(Input):
    """The device's name, typed again: this cannot be undone."""

    name = Name(max_length=100, help_text="The device's name, to confirm what cannot be undone.")


class _Act(View):
    """One act; its service takes ``actor``, ``device`` and the fields of the body."""

    service: ClassVar[Callable[..., object]]

    def act(self, request: Request, public_id: str, given: Mapping[str, object]) -> Response:
        """Do it, and return the device as it is afterwards."""
        who = actor(request)
        type(self).service(actor=who, device=selectors.device(actor=who, public_id=public_id), **given)
        return one_device(selectors.device(actor=who, public_id=public_id))


class Quarantine(_Act):
    """Quarantine."""

    service = staticmethod(quarantine.impose)

    @extend_schema(request=ReasonIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Quarantine a device: until its release it may ask and report, and is offered its own repair alone."""
        return self.act(request, public_id, read(request, ReasonIn))


class Release(_Act):
    """The end of a quarantine."""

    service = staticmethod(quarantine.release)

    @extend_schema(request=ReasonIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Release a device from quarantine."""
        return self.act(request, public_id, read(request, ReasonIn))


class Suspend(_Act):
    """Suspension."""

    service = staticmethod(registry.suspend)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Suspend an active device: it is refused until it is resumed."""
        return self.act(request, public_id, read(request, Nothing))


class Resume(_Act):
    """The end of a suspension."""

    service = staticmethod(registry.resume)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Resume a suspended device."""
        return self.act(request, public_id, read(request, Nothing))


class Return(_Act):
    """A device that goes back to its maker."""

    service = staticmethod(registry.send_back)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Take a device out of service: its certificates are revoked, and it enrols again with a new token."""
        return self.act(request, public_id, read(request, Nothing))


class Retire(_Act):
    """The end of a device's service."""

    service = staticmethod(registry.retire)

    @extend_schema(request=Nothing, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Retire a device for good: its certificates are revoked; its data stay."""
        return self.act(request, public_id, read(request, Nothing))


class Decommission(View):
    """The end of a device."""

    @extend_schema(request=DecommissionIn, responses=DeviceOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Retire a device for good and erase what may tell about people; ``name`` confirms it."""
        who, given = actor(request), read(request, DecommissionIn)
        device = selectors.device(actor=who, public_id=public_id)
        done = registry.decommission(actor=who, device=device, confirmed=given["name"])
        return one_device(done)
