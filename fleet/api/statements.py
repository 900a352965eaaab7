"""Statements: what officers are asked to sign about releases, counter floors, and another year."""

import json
from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors as devices
from fleet.api.auth import actor
from fleet.api.base import Input, Name, Nothing, Output, View, read
from fleet.api.lists import list_answer, list_schema, whole_schema
from ota.models import Statement as Requested
from ota.selectors import statements as rows
from ota.selectors.officers import Officers, officers
from ota.selectors.roles import roles
from ota.services import statements, upkeep


class StatementOut(Output):
    """A statement and who signed it."""

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
        """Return the officers who signed so far."""
        return sorted(one.officer for one in statement.signatures.all())

    def get_missing(self, statement: Requested) -> int:
        """Return how many officers have still to sign before it can be published; 0 once it was."""
        signed = {one.officer for one in statement.signatures.all()}
        waits = statement.state == Requested.State.PREPARED
        return max(self._officers(statement).threshold - len(signed), 0) if waits else 0

    def get_may_sign(self, statement: Requested) -> list[str]:
        """Return the officers who could still sign; nobody once it was published."""
        signed = {one.keyid for one in statement.signatures.all()}
        names = self._officers(statement).names if statement.state == Requested.State.PREPARED else {}
        return sorted(name for keyid, name in names.items() if keyid not in signed)

    def _officers(self, statement: Requested) -> Officers:
        """Return who signs in this domain, read once for a whole answer."""
        context = cast("dict[str, Officers]", self.context)
        if "officers" not in context:
            context["officers"] = officers(statement.domain.slug)
        return context["officers"]


class SignatureIn(Input):
    """The ``signature.json`` that ``muster-sign`` wrote."""

    statement = serializers.UUIDField(help_text="Id of the statement.")
    keyid = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="Of the officer's key.")
    officer = serializers.CharField(help_text="Name of the officer.")
    sigs = serializers.DictField(child=serializers.CharField(), help_text="Document to signature, hexadecimal.")


class PreparedOut(Output):
    """What officers sign: the documents, those in force, and the texts that they name."""

    statement = serializers.UUIDField()
    kind = serializers.CharField()
    digest = serializers.CharField()
    documents = serializers.DictField(help_text="Role to the document to sign.")
    before = serializers.DictField(help_text="Role to the document that holds now.")
    exhibits = serializers.DictField(help_text="Path to the bundle.json that it names.")
    sequence = serializers.IntegerField(help_text="Sequence number of SUIT manifests; 0 for none.")


class FloorIn(Input):
    """A counter floor to raise."""

    component = Name(max_length=60, help_text="Name of the component.")
    hardware_model = Name(max_length=100, help_text="Name of the hardware model.")
    counter = serializers.IntegerField(
        min_value=1, max_value=2**31 - 1, help_text="Security counter below which devices refuse images."
    )


class RenewalIn(Input):
    """Another year for targets and bins."""

    bits = serializers.IntegerField(
        min_value=1,
        max_value=14,
        allow_null=True,
        default=None,
        help_text="2 to the power of this many hash bins from now on; null leaves them as they are.",
    )


class Statements(View):
    """Statements."""

    @list_schema(StatementOut, rows.StatementFilter)
    def get(self, request: Request) -> Response:
        """List statements, newest first."""
        return list_answer(request, rows.statements, StatementOut)


class Statement(View):
    """One statement."""

    @extend_schema(responses=StatementOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a statement and who signed it."""
        who = actor(request)
        return Response(StatementOut(rows.statement(actor=who, public_id=public_id)).data)


class Prepared(View):
    """What officers sign."""

    @extend_schema(responses=PreparedOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return ``prepared.json``, the input of ``muster-sign``."""
        who = actor(request)
        return Response(rows.prepared(rows.statement(actor=who, public_id=public_id)))


class Signatures(View):
    """An officer's signature."""

    @extend_schema(request=SignatureIn, responses=StatementOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Submit the ``signature.json`` that ``muster-sign`` wrote."""
        who = actor(request)
        statement = rows.statement(actor=who, public_id=public_id)
        statements.submit(actor=who, statement=statement, signature=json.dumps(request.data).encode())
        return Response(StatementOut(rows.statement(actor=who, public_id=public_id)).data)


class Publish(View):
    """Publication."""

    @extend_schema(request=Nothing, responses=StatementOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Publish what two officers signed."""
        who = actor(request)
        read(request, Nothing)
        statements.publish(actor=who, statement=rows.statement(actor=who, public_id=public_id))
        return Response(StatementOut(rows.statement(actor=who, public_id=public_id)).data)


class RoleOut(Output):
    """How one role of the update metadata stands."""

    role = serializers.CharField()
    version = serializers.IntegerField()
    expires = serializers.DateTimeField()
    threshold = serializers.IntegerField()
    holders = serializers.ListField(child=serializers.CharField())
    online = serializers.BooleanField()
    level = serializers.CharField()
    advice = serializers.CharField()


class Roles(View):
    """The roles of the update metadata."""

    @whole_schema(RoleOut)
    def get(self, request: Request) -> Response:
        """Say who signs each role, until when it holds, and what to do."""
        who = actor(request)
        return Response({"results": RoleOut(roles(actor=who), many=True).data, "next": None})


class Floors(View):
    """Counter floors."""

    @extend_schema(request=FloorIn, responses={201: StatementOut})
    def post(self, request: Request) -> Response:
        """Prepare a higher floor: devices of that hardware refuse every lower counter once officers have signed it."""
        who, given = actor(request), read(request, FloorIn)
        hardware = devices.hardware_model(actor=who, name=given["hardware_model"])
        wanted = {"component": given["component"], "counter": given["counter"]}
        made = upkeep.raise_floor(actor=who, hardware=hardware, **wanted)
        return Response(StatementOut(made).data, status=status.HTTP_201_CREATED)


class Renewals(View):
    """Another year."""

    @extend_schema(request=RenewalIn, responses={201: StatementOut})
    def post(self, request: Request) -> Response:
        """Prepare targets and bins for another year, signed by the officers whom the present root names."""
        who, given = actor(request), read(request, RenewalIn)
        made = upkeep.renew(actor=who, bit_length=given["bits"])
        return Response(StatementOut(made).data, status=status.HTTP_201_CREATED)
