"""Signing requests for officers: releases, counter floors and metadata renewals."""

import json
from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors as devices
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Nothing, Output, View, read_fields
from fleet.api.lists import list_answer, list_schema, whole_schema
from ota.models import Statement as Requested
from ota.selectors import statements as rows
from ota.selectors.officers import Officers, list_officers
from ota.selectors.roles import role_states
from ota.services import statements, upkeep


class StatementOut(Output):
    """A signing request and its signatures."""

    id = serializers.UUIDField(source="public_id")
    kind = serializers.CharField()
    state = serializers.CharField()
    summary = serializers.CharField()
    digest = serializers.CharField()
    signed_by = serializers.SerializerMethodField()
    missing = serializers.SerializerMethodField()
    may_sign = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    published_at = serializers.DateTimeField(allow_null=True)

    def get_signed_by(self, statement: Requested) -> list[str]:
        """Officers who have signed."""
        return sorted(signature.officer for signature in statement.signatures.all())

    def get_missing(self, statement: Requested) -> int:
        """Number of signatures still missing before publication; 0 after publication."""
        signed = {signature.officer for signature in statement.signatures.all()}
        waits = statement.state == Requested.State.PREPARED
        return max(self._officers(statement).threshold - len(signed), 0) if waits else 0

    def get_may_sign(self, statement: Requested) -> list[str]:
        """Officers who can still sign; empty after publication."""
        signed = {signature.keyid for signature in statement.signatures.all()}
        names = self._officers(statement).names if statement.state == Requested.State.PREPARED else {}
        return sorted(name for keyid, name in names.items() if keyid not in signed)

    def _officers(self, statement: Requested) -> Officers:
        """Return the officers of this trust domain, read once per response."""
        context = cast("dict[str, Officers]", self.context)
        if "officers" not in context:
            context["officers"] = list_officers(statement.domain.slug)
        return context["officers"]


class SignatureIn(Input):
    """A ``signature.json`` from ``muster-sign``."""

    statement = serializers.UUIDField(help_text="Id of the signing request.")
    keyid = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="Id of the officer's key.")
    officer = serializers.CharField(help_text="Name of the officer.")
    sigs = serializers.DictField(child=serializers.CharField(), help_text="Map of document name to signature, in hex.")


class PreparedOut(Output):
    """A signing request: the documents to sign, the documents in force, and the files that they reference."""

    statement = serializers.UUIDField()
    kind = serializers.CharField()
    digest = serializers.CharField()
    documents = serializers.DictField(help_text="Map of role to the document to sign.")
    before = serializers.DictField(help_text="Map of role to the document in force.")
    exhibits = serializers.DictField(help_text="Map of path to the referenced bundle.json.")
    sequence = serializers.IntegerField(help_text="Sequence number of SUIT manifests; 0 for none.")


class FloorIn(Input):
    """A counter floor to raise."""

    component = Name(max_length=60, help_text="Name of the component.")
    hardware_model = Name(max_length=100, help_text="Name of the hardware model.")
    counter = serializers.IntegerField(
        min_value=1, max_value=2**31 - 1, help_text="New floor: devices reject images with a lower security counter."
    )


class RenewalIn(Input):
    """A renewal of the targets and bins metadata for one year."""

    bits = serializers.IntegerField(
        min_value=1,
        max_value=14,
        allow_null=True,
        default=None,
        help_text="New number of hash bins, as a power of 2; null keeps the current number.",
    )


class Statements(View):
    """Signing requests."""

    @list_schema(StatementOut, rows.StatementFilter)
    def get(self, request: Request) -> Response:
        """List signing requests, newest first."""
        return list_answer(request, rows.list_statements, StatementOut)


class StatementView(View):
    """One signing request."""

    @extend_schema(responses=StatementOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a signing request and its signatures."""
        who = api_actor(request)
        return Response(StatementOut(rows.get_statement(actor=who, public_id=public_id)).data)


class PreparedView(View):
    """The documents of a signing request."""

    @extend_schema(responses=PreparedOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return ``prepared.json``, the input of ``muster-sign``."""
        who = api_actor(request)
        return Response(rows.prepared_documents(rows.get_statement(actor=who, public_id=public_id)))


class Signatures(View):
    """An officer's signature."""

    @extend_schema(request=SignatureIn, responses=StatementOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Submit a ``signature.json`` from ``muster-sign``."""
        who = api_actor(request)
        statement = rows.get_statement(actor=who, public_id=public_id)
        statements.submit(actor=who, statement=statement, signature=json.dumps(request.data).encode())
        return Response(StatementOut(rows.get_statement(actor=who, public_id=public_id)).data)


class Publish(View):
    """Publish a signed document."""

    @extend_schema(request=Nothing, responses=StatementOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Publish a signing request that has enough signatures."""
        who = api_actor(request)
        read_fields(request, Nothing)
        statements.publish(actor=who, statement=rows.get_statement(actor=who, public_id=public_id))
        return Response(StatementOut(rows.get_statement(actor=who, public_id=public_id)).data)


class RoleOut(Output):
    """State of one TUF role."""

    role = serializers.CharField()
    version = serializers.IntegerField()
    expires = serializers.DateTimeField()
    threshold = serializers.IntegerField()
    holders = serializers.ListField(child=serializers.CharField())
    online = serializers.BooleanField()
    level = serializers.CharField()
    advice = serializers.CharField()


class Roles(View):
    """TUF roles of the update metadata."""

    @whole_schema(RoleOut)
    def get(self, request: Request) -> Response:
        """List the TUF roles with their signers, expiry and recommended action."""
        who = api_actor(request)
        return Response({"results": RoleOut(role_states(actor=who), many=True).data, "next": None})


class Floors(View):
    """Counter floors."""

    @extend_schema(request=FloorIn, responses={201: StatementOut})
    def post(self, request: Request) -> Response:
        """Prepare a higher floor. After officers sign it, devices of the hardware model reject lower counters."""
        who, given = api_actor(request), read_fields(request, FloorIn)
        hardware = devices.hardware_model(actor=who, name=given["hardware_model"])
        wanted = {"component": given["component"], "counter": given["counter"]}
        statement = upkeep.raise_floor(actor=who, hardware=hardware, **wanted)
        return Response(StatementOut(statement).data, status=status.HTTP_201_CREATED)


class Renewals(View):
    """Renew the update metadata."""

    @extend_schema(request=RenewalIn, responses={201: StatementOut})
    def post(self, request: Request) -> Response:
        """Prepare a one-year renewal of targets and bins. Officers that the current TUF root lists must sign it."""
        who, given = api_actor(request), read_fields(request, RenewalIn)
        statement = upkeep.renew_targets(actor=who, bit_length=given["bits"])
        return Response(StatementOut(statement).data, status=status.HTTP_201_CREATED)
