"""This process's lines to the signer, one a role.

A caller names the role that its action needs; whether this process has that role depends on whether it could read
the role's secret. A listener reads the secret of ``door`` before it is confined and gets no other.
"""

import atexit
import os
from functools import cache

from django.conf import settings

from pki.models import Authority
from pki.signer.client import SCOPED, Signer


def signer_client(role: str) -> Signer:
    """Return the signer's client in a role: ``door``, ``work``, ``serve`` or ``admin``.

    Raises:
        SignerError: this process cannot read the role's secret.
    """
    return _client(role, os.getpid())


@cache
def _client(role: str, _process: int) -> Signer:
    signer = Signer(settings.FLEET_DIR, role, _domains() if role in SCOPED else ())
    atexit.register(signer.close)
    return signer


def _domains() -> list[str]:
    """Return the domains that can issue: a listener reads the secrets of all of them before it is confined."""
    rows = Authority.objects.filter(kind=Authority.Kind.ISSUING).values_list("domain__slug", flat=True)
    return sorted(set(rows))
