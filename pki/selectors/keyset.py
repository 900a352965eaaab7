"""Cut lists by key, not by number: a page stays put while rows come and go, the last is as cheap as the first."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from pki.kernel.errors import InvalidError

Row = TypeVar("Row", bound=Model)
#: orders of lists; the first one falls, newest first, the others rise
BY_AGE: tuple[str, ...] = ("id",)
BY_NAME: tuple[str, ...] = ("name", "id")
BY_END: tuple[str, ...] = ("not_after", "id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def rows_beyond(rows: QuerySet[Row], fields: Sequence[str], mark: Sequence[object], *, falling: bool) -> QuerySet[Row]:
    """Return rows in the order of some fields, from behind a row on.

    Args:
        rows: what to cut; its order is replaced.
        fields: they order the rows; together they are unique.
        mark: the values of the row behind which it begins; empty for the first page.
        falling: whether the order falls in every field, or rises.
    """
    ordered = rows.order_by(*(f"-{name}" if falling else name for name in fields))
    if not mark:
        return ordered
    sign = "lt" if falling else "gt"
    if len(fields) > 1:
        # It follows from what lies beyond, and only by it does an index of the first field begin there.
        ordered = ordered.filter(**{f"{fields[0]}__{sign}e": mark[0]})
    return ordered.filter(_beyond(fields, mark, sign))


def order_of(rows: QuerySet[Row]) -> tuple[str, ...]:
    """Return the fields that a list is cut by: the end of its rows if it comes in that order, else their age."""
    return BY_END if tuple(rows.query.order_by) == BY_END else BY_AGE


def mark_of(row: Model, fields: Sequence[str]) -> list[str | int]:
    """Return where a row stands, as addresses of pages hold it: a time in microseconds since 1970."""
    values = [getattr(row, name) for name in fields]
    return [(value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value for value in values]


def read_time(number: int) -> datetime:
    """Return the time that ``mark_of`` gave.

    Raises:
        InvalidError: no year has it.
    """
    try:
        return _EPOCH + number * _MICROSECOND
    except OverflowError as error:
        msg = "This page address is damaged; start again from the list."
        raise InvalidError(msg) from error


def _beyond(fields: Sequence[str], mark: Sequence[object], sign: str) -> Q:
    """Return the condition of lying beyond a row in an order over several fields.

    Both databases begin in the index at the bound of the first field, which the alternatives share.
    """
    condition = Q()
    for index, name in enumerate(fields):
        same = dict(zip(fields[:index], mark[:index], strict=True))
        condition |= Q(**same, **{f"{name}__{sign}": mark[index]})
    return condition
