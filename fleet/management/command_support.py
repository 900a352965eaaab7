"""What commands share: the system actor, access to a signer, and errors for the command line."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings
from django.core.management.base import CommandError

from fleet.management.serving.supervisor import signer_running
from pki.kernel import actor as actors
from pki.kernel.actor import Actor
from pki.kernel.errors import DomainError
from pki.kernel.filters import Form, criteria_of, parse_filter

_Filter = TypeVar("_Filter")


def command_actor(domain: str) -> Actor:
    """Return the actor for a command that runs on the server itself."""
    return actors.system_actor(domain, "command", via="command")


@contextmanager
def command_errors() -> Iterator[None]:
    """Turn a domain error into a command error: one message, exit code 1."""
    try:
        yield
    except DomainError as error:
        raise CommandError(error.detail) from error


@contextmanager
def provide_signer() -> Iterator[None]:
    """Provide a signer for the block: the server's own, or one that ends with the block."""
    with command_errors():
        stop = signer_running(settings.FLEET_DIR)
        try:
            yield
        finally:
            stop()


def add_filter_options(parser: ArgumentParser, shape: type[object]) -> None:
    """Add the fields of a list's filter as command-line options."""
    for name, criterion in criteria_of(shape).items():
        says = f"{criterion.says} Name or id." if criterion.form is Form.REFERENCE else criterion.says
        parser.add_argument(f"--{name}", default="", choices=criterion.choices or None, help=says.replace("%", "%%"))


def filter_of(options: Mapping[str, object], shape: type[_Filter]) -> _Filter:
    """Return the filter for the options of a command.

    Raises:
        InvalidError: a value is invalid; the message says which values are valid.
    """
    return parse_filter(shape, {name: [str(options[name])] for name in criteria_of(shape)})
