"""Cursor pages: stable order by id, no counts unless asked for."""

import base64
import binascii
import re
from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from pki.kernel.errors import InvalidError

LIMIT, MOST = 50, 500
_NUMBER = re.compile(r"[0-9]{1,9}")


def page(
    request: Request, rows: QuerySet[Any], serializer: type[Serializer[Any]], context: dict[str, Any] | None = None
) -> Response:
    """Return one page, newest first, with the address of the next one.

    Args:
        request: its query may hold ``limit``, ``cursor`` and ``count=true``.
        rows: any queryset of a model with an ``id``; its order is replaced.
        serializer: of one row.
        context: what the serializer needs besides.
    """
    query = request.query_params
    limit = _limit(query.get("limit", str(LIMIT)))
    wanted = rows.order_by("-id")
    if cursor := query.get("cursor"):
        wanted = wanted.filter(id__lt=_decode(cursor))
    found: list[Model] = list(wanted[: limit + 1])
    body: dict[str, Any] = {"results": serializer(found[:limit], many=True, context=context or {}).data, "next": None}
    if len(found) > limit:
        further = query.copy()
        further["cursor"] = _encode(found[limit - 1].pk)
        body["next"] = f"{request.path}?{further.urlencode()}"
    if query.get("count") == "true":
        body["count"] = rows.count()
    return Response(body)


def _limit(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= MOST:
        msg = f"`limit` lies between 1 and {MOST}."
        raise InvalidError(msg)
    return int(text)


def _encode(key: int) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        msg = "The cursor is not one of ours; start again without it."
        raise InvalidError(msg) from error
