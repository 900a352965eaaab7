"""The caller's own account, and API tokens."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Nothing, Output, View, read_fields
from fleet.api.lists import list_answer, list_schema
from fleet.operators import selectors
from fleet.operators.models import Operator
from fleet.operators.services import tokens


class MeOut(Output):
    """The caller."""

    username = serializers.CharField()
    domain = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())


class ApiTokenIn(Input):
    """An API token to create for oneself."""

    name = Name(max_length=60, help_text="Purpose of the token.")
    days = serializers.IntegerField(
        min_value=1,
        max_value=365,
        required=False,
        help_text="Lifetime in days. Default: 90, at most until the end of the calling token.",
    )


class ApiTokenOut(Output):
    """An API token, without its secret."""

    id = serializers.UUIDField(source="public_id")
    operator = serializers.CharField(source="operator.username")
    created_with = serializers.UUIDField(source="parent.public_id", default=None, allow_null=True)
    name = serializers.CharField()
    prefix = serializers.CharField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewApiTokenOut(ApiTokenOut):
    """A new API token. The secret is shown only once."""

    secret = serializers.CharField()


class Me(View):
    """The caller."""

    @extend_schema(responses=MeOut)
    def get(self, request: Request) -> Response:
        """Return the caller's account and roles."""
        who = api_actor(request)
        return Response({"username": who.key, "domain": who.domain, "roles": sorted(who.roles)})


class MyTokens(View):
    """API tokens of the caller."""

    @list_schema(ApiTokenOut)
    def get(self, request: Request) -> Response:
        """List the caller's own API tokens, newest first."""
        return list_answer(request, selectors.own_tokens, ApiTokenOut)

    @extend_schema(request=ApiTokenIn, responses={201: NewApiTokenOut})
    def post(self, request: Request) -> Response:
        """Create an API token for oneself. The secret is shown only in this response.

        A token that is created with another token ends with that token.
        """
        given = read_fields(request, ApiTokenIn)
        token, secret = tokens.create(actor=api_actor(request), operator=_operator(request), **given)
        return Response({**ApiTokenOut(token).data, "secret": secret}, status=status.HTTP_201_CREATED)


class ApiTokensView(View):
    """API tokens of the trust domain."""

    @list_schema(ApiTokenOut)
    def get(self, request: Request) -> Response:
        """List the API tokens that the caller can revoke: for an admin, all of the trust domain; else the caller's."""
        return list_answer(request, selectors.tokens_of, ApiTokenOut)


class TokenRevoke(View):
    """Revoke an API token."""

    @extend_schema(request=Nothing, responses=ApiTokenOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Revoke an API token and the tokens that were created with it."""
        read_fields(request, Nothing)
        return Response(ApiTokenOut(tokens.revoke_api_token(actor=api_actor(request), public_id=public_id)).data)


def _operator(request: Request) -> Operator:
    if not isinstance(request.user, Operator):
        raise NotAuthenticated
    return request.user
