"""Enrolment of devices: tokens, expected devices, vendors, and enrolment requests that need approval."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors
from devices.models import HardwareIdentity, VendorAnchor
from devices.services import approvals, expected, rollover, tokens, transfer
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Nothing, Output, Text, View, read_fields
from fleet.api.lists import list_answer, list_schema


class TokenIn(Input):
    """Enrolment tokens to create: one per name, or ``count`` tokens without a name."""

    hardware = Name(max_length=60, help_text="Name of the hardware model.")
    devices = serializers.ListField(
        child=Name(max_length=64),
        max_length=1000,
        default=list,
        help_text="Names of the devices, one token per name; empty for tokens without a name.",
    )
    count = serializers.IntegerField(
        min_value=1, max_value=1000, default=1, help_text="Number of tokens to create if `devices` is empty."
    )
    days = serializers.IntegerField(min_value=1, max_value=365, default=7, help_text="Lifetime of the tokens, in days.")
    profile = serializers.SlugField(max_length=40, default="device", help_text="Name of the certificate profile.")


class TokenOut(Output):
    """An enrolment token, without its secret."""

    id = serializers.UUIDField(source="public_id")
    hardware = serializers.CharField(source="hardware_model.name")
    device = serializers.CharField(source="device_name")
    profile = serializers.CharField()
    replaces = serializers.BooleanField()
    state = serializers.CharField()
    expires_at = serializers.DateTimeField()
    used_at = serializers.DateTimeField(allow_null=True)


class NewTokenOut(Output):
    """A new enrolment token. The secret is shown only once."""

    id = serializers.CharField()
    device = serializers.CharField()
    secret = serializers.CharField()


class ExpectedIn(Input):
    """A device to pre-register."""

    serial = Name(max_length=100, help_text="Serial number of the device.")
    hardware = Name(max_length=60, help_text="Name of the hardware model.")
    device = Name(max_length=64, help_text="Name to give the device.")
    spki_sha256 = serializers.RegexField(
        r"^[0-9a-fA-F]{64}$",
        default="",
        allow_blank=True,
        help_text="SHA-256 of the public key (SubjectPublicKeyInfo), in hex; empty if a vendor certificate proves it.",
    )
    profile = serializers.SlugField(max_length=40, default="device", help_text="Name of the certificate profile.")


class ExpectedOut(Output):
    """A pre-registered device."""

    id = serializers.UUIDField(source="public_id")
    serial = serializers.CharField()
    hardware = serializers.CharField(source="hardware_model.name")
    device = serializers.CharField(source="device_name")
    spki_sha256 = serializers.CharField()
    profile = serializers.CharField()
    used_at = serializers.DateTimeField(allow_null=True)


class VendorIn(Input):
    """A vendor's CA certificate in PEM. ``hardware`` limits it to one hardware model."""

    name = Name(max_length=100, help_text="Name of the vendor.")
    kind = serializers.ChoiceField(
        choices=HardwareIdentity.Kind.values,
        help_text="What the certificates prove: idevid (IEEE 802.1AR) or tpm (endorsement keys).",
    )
    pem = Text(max_length=20_000, help_text="CA certificate in PEM.")
    hardware = Name(
        max_length=60,
        default="",
        allow_blank=True,
        help_text="Hardware model of all devices with a certificate of this CA; empty if each certificate names it.",
    )


class VendorOut(Output):
    """A vendor whose device identities are accepted for first enrolment."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    kind = serializers.CharField()
    hardware = serializers.SerializerMethodField()
    fingerprint = serializers.CharField()
    withdrawn_at = serializers.DateTimeField(allow_null=True)

    def get_hardware(self, row: VendorAnchor) -> str:
        """Name of the hardware model; empty if each certificate names it."""
        return row.hardware_model.name if row.hardware_model else ""


class WaitingOut(Output):
    """An enrolment request that needs, or needed, a person's approval."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    hardware = serializers.CharField(source="hardware_model.name")
    proof = serializers.CharField()
    profile = serializers.CharField()
    spki_sha256 = serializers.CharField()
    why = serializers.CharField()
    facts = serializers.JSONField()
    state = serializers.CharField()
    reason = serializers.CharField()
    decided_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    asked_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class DecideIn(Input):
    """The reason for a decision."""

    reason = Text(
        max_length=300,
        default="",
        allow_blank=True,
        help_text="Reason for the decision. It is recorded in the audit log.",
    )


class NewTokensOut(Output):
    """New enrolment tokens, with their secrets."""

    results = NewTokenOut(many=True)


class EnrolmentTokensView(View):
    """Enrolment tokens."""

    @list_schema(TokenOut)
    def get(self, request: Request) -> Response:
        """List enrolment tokens, newest first."""
        return list_answer(request, selectors.list_tokens, TokenOut)

    @extend_schema(request=TokenIn, responses={201: NewTokensOut})
    def post(self, request: Request) -> Response:
        """Create enrolment tokens. Their secrets are shown only in this response."""
        who, given = api_actor(request), read_fields(request, TokenIn)
        model = selectors.hardware_model(actor=who, name=given["hardware"])
        names = given["devices"] or [""] * given["count"]
        further = {"days": given["days"], "profile": given["profile"]}
        made = tokens.create_tokens(actor=who, hardware_model=model, device_names=names, **further)
        rows = [{"id": str(token.public_id), "device": token.device_name, "secret": secret} for token, secret in made]
        return Response({"results": rows}, status=status.HTTP_201_CREATED)


class TokenWithdraw(View):
    """Withdraw an enrolment token."""

    @extend_schema(request=Nothing, responses=TokenOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Withdraw an unused enrolment token. It can no longer be used."""
        read_fields(request, Nothing)
        return Response(TokenOut(tokens.withdraw(actor=api_actor(request), public_id=public_id)).data)


class Board(View):
    """Replace the board of a device."""

    @extend_schema(request=Nothing, responses={201: NewTokenOut})
    def post(self, request: Request, public_id: str) -> Response:
        """Create a token for a new board that replaces the device's current board. Its enrolment needs approval."""
        who = api_actor(request)
        read_fields(request, Nothing)
        device = selectors.get_device(actor=who, public_id=public_id)
        token, secret = tokens.replace_board(actor=who, device=device)
        body = {"id": str(token.public_id), "device": device.name, "secret": secret}
        return Response(body, status=status.HTTP_201_CREATED)


class Expected(View):
    """Pre-registered devices."""

    @list_schema(ExpectedOut)
    def get(self, request: Request) -> Response:
        """List pre-registered devices, newest first."""
        return list_answer(request, selectors.list_preregistered, ExpectedOut)

    @extend_schema(request=ExpectedIn, responses={201: ExpectedOut})
    def post(self, request: Request) -> Response:
        """Pre-register a device by its serial number, and by its public key unless a vendor certificate proves it."""
        who, given = api_actor(request), read_fields(request, ExpectedIn)
        model = selectors.hardware_model(actor=who, name=given.pop("hardware"))
        name = given.pop("device")
        row = expected.preregister_device(actor=who, hardware_model=model, device_name=name, **given)
        return Response(ExpectedOut(row).data, status=status.HTTP_201_CREATED)


class Vendors(View):
    """Vendors of hardware identities."""

    @list_schema(VendorOut)
    def get(self, request: Request) -> Response:
        """List vendors, newest first."""
        return list_answer(request, selectors.list_vendors, VendorOut)

    @extend_schema(request=VendorIn, responses={201: VendorOut})
    def post(self, request: Request) -> Response:
        """Trust a vendor's CA for first enrolments."""
        who, given = api_actor(request), read_fields(request, VendorIn)
        name = given.pop("hardware")
        model = selectors.hardware_model(actor=who, name=name) if name else None
        given["pem"] = given["pem"].encode()
        row = expected.trust_vendor(actor=who, hardware_model=model, **given)
        return Response(VendorOut(row).data, status=status.HTTP_201_CREATED)


class VendorDistrust(View):
    """Distrust a vendor."""

    @extend_schema(request=Nothing, responses=VendorOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Stop trusting a vendor. Devices can no longer enrol with its certificates."""
        read_fields(request, Nothing)
        return Response(VendorOut(expected.distrust_vendor(actor=api_actor(request), public_id=public_id)).data)


class Waiting(View):
    """Enrolment requests."""

    @list_schema(WaitingOut, selectors.EnrolmentRequestFilter)
    def get(self, request: Request) -> Response:
        """List enrolment requests, newest first. Filter by ``state``."""
        return list_answer(request, selectors.enrolment_requests, WaitingOut)


class Approve(View):
    """Approve an enrolment request."""

    @extend_schema(request=DecideIn, responses=WaitingOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Approve an enrolment request. The device receives its certificate on its next attempt."""
        return _decided(request, public_id, approved=True)


class Deny(View):
    """Deny an enrolment request."""

    @extend_schema(request=DecideIn, responses=WaitingOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Deny an enrolment request. The device is rejected on its next attempt."""
        return _decided(request, public_id, approved=False)


def _decided(request: Request, public_id: str, *, approved: bool) -> Response:
    given = read_fields(request, DecideIn)
    row = approvals.decide(actor=api_actor(request), public_id=public_id, approved=approved, reason=given["reason"])
    return Response(WaitingOut(row).data)


class SwitchIn(Input):
    """Whether to switch although some devices do not trust the new root; two people must request it."""

    override = serializers.BooleanField(
        default=False,
        help_text="Whether to switch although some devices trust only another root. Two people must request it.",
    )


class ReadinessOut(Output):
    """How many devices are ready for a switch to an issuing CA."""

    ready = serializers.IntegerField()
    behind = serializers.IntegerField()
    linked = serializers.BooleanField()


class AuthoritySwitch(View):
    """Switch the issuing CA."""

    @extend_schema(responses=ReadinessOut)
    def get(self, request: Request, key_id: str) -> Response:
        """Count the devices that are ready for a switch to this issuing CA."""
        return Response(ReadinessOut(rollover.switch_readiness(actor=api_actor(request), key_id=key_id)).data)

    @extend_schema(request=SwitchIn, responses=ReadinessOut)
    def post(self, request: Request, key_id: str) -> Response:
        """Switch to this issuing CA. The request fails while active devices trust only another root."""
        who, given = api_actor(request), read_fields(request, SwitchIn)
        rollover.switch_issuing_ca(actor=who, key_id=key_id, override=given["override"])
        return Response(ReadinessOut(rollover.switch_readiness(actor=who, key_id=key_id)).data)


class TransferOut(Output):
    """The code of a transfer offer. It is shown only once."""

    code = serializers.CharField()


class TakeIn(Input):
    """The code of a transfer offer."""

    code = Name(max_length=200, help_text="Transfer code from the other trust domain.")


class Transfer(View):
    """Transfer a device to another trust domain."""

    @extend_schema(request=Nothing, responses={201: TransferOut})
    def post(self, request: Request, public_id: str) -> Response:
        """Offer a device to another trust domain. When that domain accepts the code, the device is retired here."""
        who = api_actor(request)
        read_fields(request, Nothing)
        code = transfer.offer_transfer(actor=who, device=selectors.get_device(actor=who, public_id=public_id))
        return Response({"code": code}, status=status.HTTP_201_CREATED)


class Transfers(View):
    """Devices from other trust domains."""

    @extend_schema(request=TakeIn, responses={201: NewTokenOut})
    def post(self, request: Request) -> Response:
        """Accept the transfer of a device. The token in the response enrols it in this trust domain."""
        token, secret = transfer.accept_transfer(actor=api_actor(request), code=read_fields(request, TakeIn)["code"])
        body = {"id": str(token.public_id), "device": token.device_name, "secret": secret}
        return Response(body, status=status.HTTP_201_CREATED)
