"""This process's line to the signer: one client a process, in the role that the process was started with."""

import os
from functools import cache

from django.conf import settings

from pki.signer.client import Signer


def client() -> Signer:
    """Return the signer's client for FLEET_SIGNER_ROLE (door, work, serve; admin for commands)."""
    return _client(os.environ.get("FLEET_SIGNER_ROLE", "admin"), os.getpid())


@cache
def _client(role: str, _process: int) -> Signer:
    return Signer(settings.FLEET_DIR, role)
