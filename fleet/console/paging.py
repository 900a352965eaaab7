"""Keyset pagination: pages stay stable while rows are added or removed, and every page costs the same."""

import base64
import binascii
import json
from datetime import datetime
from typing import Generic, TypedDict, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from pki.kernel import strict_json
from pki.kernel.errors import InvalidError
from pki.selectors.keyset import BY_AGE, BY_END, mark_of, order_of, read_time, rows_beyond

_Row = TypeVar("_Row", bound=Model)
PAGE = 50
MOST = 1 << 63
MOST_MARK = 1000


class Page(TypedDict, Generic[_Row]):
    """One page of rows, with the addresses of the previous and next pages; empty where there is none."""

    rows: list[_Row]
    before: str
    after: str


def cut_page(request: HttpRequest, rows: QuerySet[_Row], fields: tuple[str, ...] = ()) -> Page[_Row]:
    """Return one page of rows, and the addresses of the previous and next pages with the same filter.

    Args:
        request: the page request; its query may contain ``after`` or ``before``.
        rows: the rows to paginate.
        fields: ``BY_NAME`` for ascending names. Otherwise rows come by their end if that is their order, or newest
            first.
    """
    fields = fields or order_of(rows)
    backward = "before" in request.GET
    mark = request.GET.get("before" if backward else "after", "")
    falling = (fields == BY_AGE) != backward
    beyond = rows_beyond(rows, fields, _read(mark, fields) if mark else (), falling=falling)
    found = list(beyond[: PAGE + 1])
    more, found = len(found) > PAGE, found[:PAGE]
    if backward:
        found.reverse()
    left, right = (more, bool(mark)) if backward else (bool(mark), more)
    return {
        "rows": found,
        "before": _address(request, "before", found[0], fields) if left and found else "",
        "after": _address(request, "after", found[-1], fields) if right and found else "",
    }


def _address(request: HttpRequest, way: str, row: Model, fields: tuple[str, ...]) -> str:
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    key = json.dumps(mark_of(row, fields)).encode()
    query[way] = base64.urlsafe_b64encode(key).decode().rstrip("=")
    return f"?{query.urlencode()}"


def _read(mark: str, fields: tuple[str, ...]) -> list[str | int | datetime]:
    try:
        read = strict_json.read_json(base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4)), max_bytes=MOST_MARK)
    except (binascii.Error, ValueError, InvalidError) as error:
        msg = "The page cursor in this address is invalid. Open the list again from its first page."
        raise InvalidError(msg) from error
    kinds = [str if name == "name" else int for name in fields]
    if not isinstance(read, list) or [type(value) for value in read] != kinds or abs(read[-1]) >= MOST:
        msg = "The page cursor in this address belongs to another list. Open the list again from its first page."
        raise InvalidError(msg)
    return [read_time(read[0]), read[1]] if fields == BY_END else read
