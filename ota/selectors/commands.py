"""Queries of commands. Nothing here writes or reads beyond one domain."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from devices.selectors import device_referred
from ota.models import Command
from pki.kernel.actor import Actor
from pki.kernel.filters import choice_field, reference_field
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors.finding import one_by_id


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """The filter of the command list."""

    device: str = reference_field("The device that the command is for.", "Command.device")
    state: str = choice_field("The state of the command.", Command.State.values, "Command.state")


def list_commands(*, actor: Actor, wanted: CommandFilter = CommandFilter()) -> QuerySet[Command]:
    """Return the commands that match, newest first."""
    rows = permitted_rows(actor, Action.READ, Command.objects.all()).select_related("device").order_by("-id")
    if wanted.device:
        rows = rows.filter(device=device_referred(actor=actor, word=wanted.device))
    return rows.filter(state=wanted.state) if wanted.state else rows


def get_command(*, actor: Actor, public_id: str | UUID) -> Command:
    """Return a command by its public id.

    Raises:
        NotFoundError: there is none in this domain.
        InvalidError: no UUID.
    """
    return one_by_id(list_commands(actor=actor), public_id, "command")
