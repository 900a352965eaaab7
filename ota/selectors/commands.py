"""What can be asked of commands. Nothing here writes or looks beyond one domain."""

from uuid import UUID

from django.db.models import QuerySet

from ota.models import Command
from pki.kernel.errors import InvalidError, NotFoundError


def commands(domain: str) -> QuerySet[Command]:
    """Return the commands of a domain, newest first."""
    return Command.objects.filter(domain__slug=domain).select_related("device").order_by("-id")


def command(domain: str, public_id: str | UUID) -> Command:
    """Return a command by its public id.

    Raises:
        NotFoundError: there is none in this domain.
        InvalidError: no UUID.
    """
    try:
        found = commands(domain).filter(public_id=UUID(str(public_id))).first()
    except ValueError as error:
        msg = "This is not a UUID."
        raise InvalidError(msg) from error
    if found is None:
        msg = "There is no such command."
        raise NotFoundError(msg)
    return found
