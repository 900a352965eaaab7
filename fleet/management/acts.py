"""What commands share: the system's actor, a signer to talk to, refusals as command errors."""

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


def add_filter_options(parser: ArgumentParser, shape: type[object]) -> None:
    """Give a command that lists things the fields of the list's filter as options."""
    for name, one in criteria_of(shape).items():
        says = f"{one.says} Its name or its public id." if one.form is Form.REFERENCE else one.says
        parser.add_argument(f"--{name}", default="", choices=one.choices or None, help=says.replace("%", "%%"))


def filter_of(options: Mapping[str, object], shape: type[_Filter]) -> _Filter:
    """Return the filter that the options of a command ask for.

    Raises:
        InvalidError: a value cannot be meant; the sentence says what can.
    """
    return parse_filter(shape, {name: [str(options[name])] for name in criteria_of(shape)})
