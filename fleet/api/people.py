"""Who am I, and my tokens."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import actor
from fleet.api.base import Input, Name, Nothing, Output, View, read
from fleet.api.lists import list_answer, list_schema, whole_schema
from fleet.operators import selectors
from fleet.operators.models import Operator
from fleet.operators.services import tokens


class MeOut(Output):
    """The caller."""

    username = serializers.CharField()
    domain = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())


class ApiTokenIn(Input):
    """A token to make for oneself."""

    name = Name(max_length=60, help_text="What the token is for.")
    days = serializers.IntegerField(
        min_value=1,
        max_value=365,
        required=False,
        help_text="Days; 90 when left out, cut to the end of the token used.",
    )


class ApiTokenOut(Output):
    """A token, without its secret."""

    id = serializers.UUIDField(source="public_id")
    operator = serializers.CharField(source="operator.username")
    created_with = serializers.UUIDField(source="parent.public_id", default=None, allow_null=True)
    name = serializers.CharField()
    prefix = serializers.CharField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewApiTokenOut(ApiTokenOut):
    """A new token with its secret, shown this once."""

    secret = serializers.CharField()


class Me(View):
    """The caller."""

    @extend_schema(responses=MeOut)
    def get(self, request: Request) -> Response:
        """Return who the caller is."""
        who = actor(request)
        return Response({"username": who.key, "domain": who.domain, "roles": sorted(who.roles)})


class MyTokens(View):
    """The caller's tokens."""

    @whole_schema(ApiTokenOut)
    def get(self, request: Request) -> Response:
        """List one's own tokens."""
        rows = _operator(request).tokens.select_related("operator", "parent").order_by("-id")
        return Response({"results": ApiTokenOut(rows, many=True).data, "next": None})

    @extend_schema(request=ApiTokenIn, responses={201: NewApiTokenOut})
    def post(self, request: Request) -> Response:
        """Create a token for oneself; its secret is in this answer only. With a token: it ends with that one."""
        given = read(request, ApiTokenIn)
        token, secret = tokens.create(actor=actor(request), operator=_operator(request), **given)
        return Response({**ApiTokenOut(token).data, "secret": secret}, status=status.HTTP_201_CREATED)


class Tokens(View):
    """The tokens of the trust domain."""

    @list_schema(ApiTokenOut)
    def get(self, request: Request) -> Response:
        """List the tokens that the caller may revoke: an admin all of the trust domain, others their own."""
        return list_answer(request, selectors.tokens_of, ApiTokenOut)


class TokenRevoke(View):
    """Revocation of a token."""

    @extend_schema(request=Nothing, responses=ApiTokenOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Revoke a token and the tokens that were created with it."""
        read(request, Nothing)
        return Response(ApiTokenOut(tokens.revoke(actor=actor(request), public_id=public_id)).data)


def _operator(request: Request) -> Operator:
    if not isinstance(request.user, Operator):
        raise NotAuthenticated
    return request.user
