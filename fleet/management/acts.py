"""What commands share: the system's actor, a signer to talk to, refusals as command errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError

from fleet.management.serving.supervisor import signer_running
from pki.kernel import actor as actors
from pki.kernel.actor import Actor
from pki.kernel.errors import DomainError


def actor(domain: str) -> Actor:
    """Return the actor of a command run on the server itself."""
    return actors.system(domain, "command", via="command")


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal into a command error: one sentence, exit code 1."""
    try:
        yield
    except DomainError as error:
        raise CommandError(error.detail) from error


@contextmanager
def signer() -> Iterator[None]:
    """Have a signer for the block: the server's own, or one that ends with the block."""
    with refusals():
        stop = signer_running(settings.FLEET_DIR)
        try:
            yield
        finally:
            stop()
