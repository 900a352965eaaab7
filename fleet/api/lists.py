"""Lists of the REST API: the filter that an address asks for, one page, and what the document says of both.

A page holds the newest rows first and the address of the next page, which goes on behind the last row that was shown:
rows that come or go meanwhile move nothing. The total is counted on demand only.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from fleet.api.auth import actor
from fleet.api.base import Output
from pki.kernel.errors import InvalidError
from pki.kernel.filters import Criterion, Form, NoFilter, criteria_of, parse_filter
from pki.selectors.keyset import rows_beyond

LIMIT, MOST = 50, 500
#: what every list takes besides its filter
PAGE = {
    "limit": f"How many rows a page has, from 1 to {MOST}; {LIMIT} if it is not given.",
    "cursor": "Where the page begins: from `next` of the page before.",
    "count": "`true` adds how many rows match in all.",
}
_NUMBER = re.compile(r"[0-9]{1,9}")
_CURSOR = re.compile(r"[1-9][0-9]{0,17}")
_Row = TypeVar("_Row", bound=Model)
_View = TypeVar("_View", bound=Callable[..., Response])


def list_schema(row: type[Output], shape: type[object] = NoFilter) -> Callable[[_View], _View]:
    """Document a list: its filter, its pages, and one row.

    Args:
        row: serializer of one row.
        shape: the filter of the list.
    """
    given = {name: _parameter(name, one) for name, one in criteria_of(shape).items()}
    pages = {name: OpenApiParameter(name, OpenApiTypes.STR, description=says) for name, says in PAGE.items()}
    pages["limit"] = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
                                      description=PAGE["limit"])  # fmt: skip
    pages["count"] = OpenApiParameter("count", OpenApiTypes.BOOL, description=PAGE["count"])
    documented = extend_schema(parameters=[*given.values(), *pages.values()], responses=_page_of(row))

    def marked(view: _View) -> _View:
        view.is_list = True  # type: ignore[attr-defined]  # `fleet.api.schema` names the operation by it
        return documented(view)

    return marked


def whole_schema(row: type[Output]) -> Callable[[_View], _View]:
    """Document a short list that is answered as a whole: one page that has no next one."""
    return extend_schema(responses=_page_of(row))


def list_answer(
    request: Request,
    select: Callable[..., QuerySet[_Row]],
    row: type[Output],
    shape: type[object] = NoFilter,
    context: Callable[[list[_Row]], Mapping[str, object]] = lambda _: {},
) -> Response:
    """Return the page of a list that a request asks for.

    Args:
        request: whose query holds the filter and the page.
        select: a selector that takes ``actor`` and, with a filter, ``wanted``.
        row: serializer of one row.
        shape: the filter of the list.
        context: returns what the serializer needs besides, for the rows of the page.

    Raises:
        InvalidError: the query asks for what the list does not have.
    """
    asked = parse_filter(shape, dict(request.query_params.lists()), PAGE)
    wanted = {} if shape is NoFilter else {"wanted": asked}
    return page_answer(request, select(actor=actor(request), **wanted), row, context)


def page_answer(
    request: Request,
    rows: QuerySet[_Row],
    row: type[Output],
    context: Callable[[list[_Row]], Mapping[str, object]] = lambda _: {},
) -> Response:
    """Return one page of rows, newest first."""
    query = request.query_params
    limit, counted = _limit(query.get("limit") or str(LIMIT)), _counted(query.get("count", ""))
    cursor = query.get("cursor")
    wanted = rows_beyond(rows, ("id",), (_decode(cursor),) if cursor else (), falling=True)
    found = list(wanted[: limit + 1])
    shown = found[:limit]
    body: dict[str, object] = {"results": row(shown, many=True, context=dict(context(shown))).data, "next": None}
    if len(found) > limit:
        further = query.copy()
        further["cursor"] = _encode(found[limit - 1].pk)
        body["next"] = f"{request.path}?{further.urlencode()}"
    if counted:
        body["count"] = rows.count()
    return Response(body)


def _parameter(name: str, asked: Criterion) -> OpenApiParameter:
    says = asked.says if asked.form is not Form.REFERENCE else f"{asked.says} Its name or its public id."
    if asked.form is Form.NUMBER:
        whole = {"type": "integer", "minimum": 1, "maximum": asked.most}
        return OpenApiParameter(name, whole, description=f"{says} In {asked.unit}.")
    text = {"type": "string", "maxLength": asked.most} if not asked.choices else OpenApiTypes.STR
    return OpenApiParameter(name, text, description=says, enum=asked.choices or None)


@cache
def _page_of(row: type[Output]) -> Serializer[object]:
    fields = {
        "results": row(many=True),
        "next": serializers.CharField(allow_null=True, help_text="Address of the next page, below this server."),
        "count": serializers.IntegerField(required=False, help_text="How many rows match; only with `count=true`."),
    }
    return inline_serializer(f"{row.__name__.removesuffix('Out')}Page", fields)


def _limit(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= MOST:
        msg = f"`limit` lies between 1 and {MOST}."
        raise InvalidError(msg)
    return int(text)


def _counted(text: str) -> bool:
    if text not in {"", "true", "false"}:
        msg = "`count` is true or false."
        raise InvalidError(msg)
    return text == "true"


def _encode(key: int) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not _CURSOR.fullmatch(text):
        msg = "The cursor is not one of ours; start again without it."
        raise InvalidError(msg)
    return int(text)
