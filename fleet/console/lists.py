"""What the address of a list asks for."""

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from django.http import HttpRequest

from pki.kernel.filters import parse_filter

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: what every list takes besides its filter
PAGE = frozenset({"after", "before"})
_Filter = TypeVar("_Filter")


def asked_filter(request: HttpRequest, shape: type[_Filter], **otherwise: str) -> _Filter:
    """Return the filter that an address asks for.

    Args:
        request: whose query holds it.
        shape: the filter of the list.
        otherwise: what is asked where the address does not say.

    Raises:
        InvalidError: the address asks for what the list does not have.
    """
    given = {name: [value] for name, value in otherwise.items()} | dict(request.GET.lists())
    return parse_filter(shape, given, PAGE)


def shown_filter(wanted: "DataclassInstance") -> dict[str, object]:
    """Return what the form above a list shows of its filter."""
    given = asdict(wanted)
    return {"given": given, "filtered": any(given.values())}
