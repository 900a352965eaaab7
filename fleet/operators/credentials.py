"""Identify the operator of a request from its headers, before the server reads the body; read-only."""

from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.db import close_old_connections

from fleet.operators.models import Operator
from fleet.operators.services import tokens

#: maximum number of characters of a header field to parse
LONGEST = 4096


def person_of_credentials(authorization: str, cookie: str) -> str:
    """Return the user name for a valid API token or session; empty if there is none.

    Args:
        authorization: ``Authorization`` header field, or empty.
        cookie: ``Cookie`` header field, or empty.
    """
    close_old_connections()  # the calling threads run outside Django's request cycle, which would close them
    scheme, _, secret = authorization[:LONGEST].partition(" ")
    if scheme.lower() == "bearer":
        return tokens.person_of_token(secret.strip()[:200])
    key = _cookie(cookie[:LONGEST], settings.SESSION_COOKIE_NAME)
    return _signed_in(key) if key else ""


def _cookie(field: str, name: str) -> str:
    pairs = (part.strip().partition("=") for part in field.split(";"))
    return next((value for found, _, value in pairs if found == name), "")


def _signed_in(key: str) -> str:
    # untyped: the namespace has the one attribute of a request that Django reads here.
    operator = auth.get_user(cast("Any", SimpleNamespace(session=SessionStore(key[:64]))))
    return operator.username if isinstance(operator, Operator) and operator.is_active and operator.set_up else ""
