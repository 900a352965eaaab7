"""What can be asked of commands. Nothing here writes or looks beyond one domain."""

from uuid import UUID

from django.db.models import QuerySet

from ota.models import Command
from ota.selectors.finding import one


def commands(domain: str) -> QuerySet[Command]:
    """Return the commands of a domain, newest first."""
    return Command.objects.filter(domain__slug=domain).select_related("device").order_by("-id")


def command(domain: str, public_id: str | UUID) -> Command:
    """Return a command by its public id.

    Raises:
        NotFoundError: there is none in this domain.
        InvalidError: no UUID.
    """
    return one(commands(domain), public_id, "command")
