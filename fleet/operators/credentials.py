"""Who shows a good credential, asked before a request is taken in: reads only, and says a name or nothing."""

from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.db import close_old_connections

from fleet.operators.models import Operator
from fleet.operators.services import tokens

#: characters of a field that are looked at
LONGEST = 4096


def person_of(authorization: str, cookie: str) -> str:
    """Return the user name behind an API token or a finished session; empty for nobody.

    Args:
        authorization: field of the request, or empty.
        cookie: field of the request, or empty.
    """
    close_old_connections()  # it runs in threads that no request of Django ends
    scheme, _, secret = authorization[:LONGEST].partition(" ")
    if scheme.lower() == "bearer":
        return tokens.person_of(secret.strip()[:200])
    key = _cookie(cookie[:LONGEST], settings.SESSION_COOKIE_NAME)
    return _signed_in(key) if key else ""


def _cookie(field: str, name: str) -> str:
    pairs = (one.strip().partition("=") for one in field.split(";"))
    return next((value for found, _, value in pairs if found == name), "")


def _signed_in(key: str) -> str:
    # untyped: it is no request, but has what Django's own look-up needs of one.
    operator = auth.get_user(cast("Any", SimpleNamespace(session=SessionStore(key[:64]))))
    return operator.username if isinstance(operator, Operator) and operator.is_active and operator.set_up else ""
