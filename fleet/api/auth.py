"""Authenticate callers of the REST API: a bearer token, or a console session with CSRF protection."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from fleet.operators.identity import actor_for
from fleet.operators.models import ApiToken, Operator
from fleet.operators.services import tokens
from pki.kernel.actor import Actor
from pki.kernel.errors import UnauthenticatedError


class TokenAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer mst_…``."""

    def authenticate(self, request: Request) -> tuple[Operator, ApiToken] | None:
        """Return the operator and the token of the request, or None without a bearer token."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            token = tokens.authenticate_token(secret.strip()[:200])
        except UnauthenticatedError as error:
            raise exceptions.AuthenticationFailed(error.detail) from error
        return token.operator, token

    def authenticate_header(self, _request: Request) -> str:
        """Return the challenge for a 401 response (``WWW-Authenticate``)."""
        return 'Bearer realm="muster"'


class SessionAuthentication(authentication.SessionAuthentication):
    """Authenticate a person who is signed in to the console and has finished the account set-up."""

    def authenticate(self, request: Request) -> tuple[Operator, None] | None:
        """Return the signed-in operator, or None."""
        authenticated = super().authenticate(request)
        if authenticated is None or not isinstance(authenticated[0], Operator) or not authenticated[0].set_up:
            return None
        return authenticated


def api_actor(request: Request) -> Actor:
    """Return the actor behind an API request."""
    operator = request.user
    if not isinstance(operator, Operator):
        raise exceptions.NotAuthenticated
    token = str(request.auth.public_id) if isinstance(request.auth, ApiToken) else ""
    return actor_for(operator, "api", request.META.get("muster.request_id", ""), token)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base class registers by hand
    """Describe the bearer token in the OpenAPI document."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, _auto_schema: object) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "mst_…"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base class registers by hand
    """Describe the console session in the OpenAPI document."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, _auto_schema: object) -> dict[str, str]:
        """Return the security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "__Host-muster-session"}
