"""Filters in the query parameters of lists."""

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from django.http import HttpRequest

from pki.kernel.filters import NoFilter, parse_filter

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: query parameters that every list accepts beside its filter
PAGE = frozenset({"after", "before"})
_Filter = TypeVar("_Filter")


def asked_filter(request: HttpRequest, shape: type[_Filter], **otherwise: str) -> _Filter:
    """Return the filter from the query parameters of a request.

    Args:
        request: the page request.
        shape: filter class of the list.
        otherwise: default values of query parameters.

    Raises:
        InvalidError: the list does not have one of the query parameters, or a value is invalid.
    """
    given = {name: [value] for name, value in otherwise.items()} | dict(request.GET.lists())
    return parse_filter(shape, given, PAGE)


def check_parameters(request: HttpRequest, *known: str) -> None:
    """Refuse query parameters that a page without a filter does not have.

    Args:
        request: the page request.
        known: the parameters that the page reads.

    Raises:
        InvalidError: a parameter is unknown or given twice.
    """
    parse_filter(NoFilter, dict(request.GET.lists()), known)


def shown_filter(wanted: "DataclassInstance") -> dict[str, object]:
    """Return the template context for the filter form of a list."""
    given = asdict(wanted)
    return {"given": given, "filtered": any(given.values())}
