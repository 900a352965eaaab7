"""Lists of the REST API: filters, pagination, and their description in the OpenAPI document.

A page holds the newest rows first and the URL of the next page, which continues after the last row shown.
Rows that are added or deleted meanwhile do not shift the pages. The total is counted only on request.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from fleet.api.auth import api_actor
from fleet.api.base import PAGE_PARAMETERS, Output, asked_of, takes_query
from pki.kernel.errors import InvalidError
from pki.kernel.filters import Criterion, Form, NoFilter, criteria_of
from pki.selectors.keyset import BY_AGE, BY_END, mark_of, order_of, read_time, rows_beyond

LIMIT, MOST = 50, 500
#: descriptions of ``PAGE_PARAMETERS``
PAGE = {
    "limit": f"Rows per page, from 1 to {MOST}. Default: {LIMIT}.",
    "cursor": "Start of the page, from `next` of the previous page.",
    "count": "`true` adds the total number of matching rows.",
}
_NUMBER = re.compile(r"[0-9]{1,9}")
#: one number whatever the order of a list, so that one pattern documents it: the id of a row, and above its digits, in
#: lists that come by their end, that end
_CURSOR = re.compile(r"[1-9][0-9]{0,34}")
_ABOVE_IDS = 10**18
_Row = TypeVar("_Row", bound=Model)
_View = TypeVar("_View", bound=Callable[..., Response])


def list_schema(row: type[Output], shape: type[object] = NoFilter) -> Callable[[_View], _View]:
    """Document a list: its filter, its pagination, and the type of a row.

    Args:
        row: serializer of one row.
        shape: the filter of the list.
    """
    pages = {name: OpenApiParameter(name, OpenApiTypes.STR, description=says) for name, says in PAGE.items()}
    pages["limit"] = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
                                      description=PAGE["limit"])  # fmt: skip
    pages["cursor"] = OpenApiParameter("cursor", {"type": "string", "pattern": f"^{_CURSOR.pattern}$"},
                                       description=PAGE["cursor"])  # fmt: skip
    pages["count"] = OpenApiParameter("count", OpenApiTypes.BOOL, description=PAGE["count"])
    documented = extend_schema(parameters=[*_parameters(shape), *pages.values()], responses=_page_of(row))

    def marked(view: _View) -> _View:
        view.is_list = True  # type: ignore[attr-defined]  # `fleet.api.schema` derives the operation's name from it
        return takes_query(shape, *PAGE_PARAMETERS)(documented(view))

    return marked


def query_schema(shape: type[object], answer: type[Output]) -> Callable[[_View], _View]:
    """Document and accept query parameters for an operation that is not a list.

    Args:
        shape: the filter whose fields are the parameters.
        answer: serializer of the response.
    """
    documented = extend_schema(parameters=_parameters(shape), responses=answer)
    return lambda view: takes_query(shape)(documented(view))


def whole_schema(row: type[Output]) -> Callable[[_View], _View]:
    """Document a short list that is returned as a whole: a single page without a next one."""
    return extend_schema(responses=_page_of(row))


def list_answer(
    request: Request,
    select: Callable[..., QuerySet[_Row]],
    row: type[Output],
    context: Callable[[list[_Row]], Mapping[str, object]] = lambda _: {},
) -> Response:
    """Return the requested page of a list.

    Args:
        request: its query string holds the filter and the page.
        select: a selector that takes ``actor`` and, with a filter, ``wanted``.
        row: serializer of one row.
        context: returns the serializer context for the rows of the page.

    Raises:
        InvalidError: the query string has an unknown parameter or an invalid value.
    """
    asked = asked_of(request)
    wanted = {} if isinstance(asked, NoFilter) else {"wanted": asked}
    return page_answer(request, select(actor=api_actor(request), **wanted), row, context)


def page_answer(
    request: Request,
    rows: QuerySet[_Row],
    row: type[Output],
    context: Callable[[list[_Row]], Mapping[str, object]] = lambda _: {},
) -> Response:
    """Return one page of rows: by their end if that is their order, else newest first."""
    query = request.query_params
    limit, counted = _limit(query.get("limit", str(LIMIT))), _counted(query.get("count", "false"))
    cursor, fields = query.get("cursor"), order_of(rows)
    beyond = rows_beyond(rows, fields, () if cursor is None else _decode(cursor, fields), falling=fields == BY_AGE)
    found = list(beyond[: limit + 1])
    shown = found[:limit]
    body: dict[str, object] = {"results": row(shown, many=True, context=dict(context(shown))).data, "next": None}
    if len(found) > limit:
        further = query.copy()
        further["cursor"] = _encode(mark_of(found[limit - 1], fields))
        body["next"] = f"{request.path}?{further.urlencode()}"
    if counted:
        body["count"] = rows.count()
    return Response(body)


#: pattern of every text: PostgreSQL cannot store NUL
STORABLE = r"^[^\u0000]*$"


def _parameters(shape: type[object]) -> list[OpenApiParameter]:
    return [_parameter(name, criterion) for name, criterion in criteria_of(shape).items()]


def _parameter(name: str, asked: Criterion) -> OpenApiParameter:
    says = asked.says if asked.form is not Form.REFERENCE else f"{asked.says} Name or id."
    if asked.form is Form.NUMBER:
        whole: dict[str, object] = {"type": "integer", "minimum": asked.least, "maximum": asked.most}
        if asked.usual.isdecimal():
            whole["default"] = int(asked.usual)
        says += f" Default: {asked.usual}." if asked.usual and "default" not in whole else ""
        return OpenApiParameter(name, whole, description=says)
    text: dict[str, object] = (
        {"type": "string"} if asked.choices else {"type": "string", "minLength": 1, "maxLength": asked.most}
    )
    if asked.pattern or not asked.choices:
        text["pattern"] = f"^{asked.pattern}$" if asked.pattern else STORABLE
    return OpenApiParameter(name, text, description=says, enum=asked.choices or None, required=asked.required)


@cache
def _page_of(row: type[Output]) -> Serializer[object]:
    fields = {
        "results": row(many=True),
        "next": serializers.CharField(
            allow_null=True, help_text="Path of the next page on this server; null on the last page."
        ),
        "count": serializers.IntegerField(required=False, help_text="Number of matching rows; only with `count=true`."),
    }
    return inline_serializer(f"{row.__name__.removesuffix('Out')}Page", fields)


def _limit(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= MOST:
        msg = f"`limit` must be between 1 and {MOST}."
        raise InvalidError(msg)
    return int(text)


def _counted(text: str) -> bool:
    if text not in {"true", "false"}:
        msg = "`count` must be true or false."
        raise InvalidError(msg)
    return text == "true"


def _encode(mark: list[str | int]) -> str:
    *end, number = (int(one) for one in mark)
    return str(sum(end) * _ABOVE_IDS + number)


def _decode(cursor: str, fields: tuple[str, ...]) -> list[int | datetime]:
    if not _CURSOR.fullmatch(cursor):
        msg = "`cursor` is invalid. Start again without it, and use `next` of each page."
        raise InvalidError(msg)
    end, number = divmod(int(cursor), _ABOVE_IDS)
    return [read_time(end), number] if fields == BY_END else [number]
