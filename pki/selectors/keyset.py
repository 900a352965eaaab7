"""Cut lists by key, not by number: a page stays put while rows come and go, the last is as cheap as the first."""

from collections.abc import Sequence
from typing import TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)


def rows_beyond(rows: QuerySet[Row], fields: Sequence[str], mark: Sequence[object], *, falling: bool) -> QuerySet[Row]:
    """Return rows in the order of some fields, from behind a row on.

    Args:
        rows: what to cut; its order is replaced.
        fields: they order the rows; together they are unique.
        mark: the values of the row behind which it begins; empty for the first page.
        falling: whether the order falls in every field, or rises.
    """
    ordered = rows.order_by(*(f"-{name}" if falling else name for name in fields))
    return ordered.filter(_beyond(fields, mark, "lt" if falling else "gt")) if mark else ordered


def _beyond(fields: Sequence[str], mark: Sequence[object], sign: str) -> Q:
    """Return the condition of lying beyond a row in an order over several fields."""
    wanted = Q()
    for place, name in enumerate(fields):
        same = dict(zip(fields[:place], mark[:place], strict=True))
        wanted |= Q(**same, **{f"{name}__{sign}": mark[place]})
    return wanted
