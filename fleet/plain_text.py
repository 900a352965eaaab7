"""Check paths, queries and forms of the operator server: valid, storable UTF-8, before a view reads them."""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase, JsonResponse, QueryDict

from fleet.refusals import PROBLEM_TYPE, problem_document
from pki.kernel import intake
from pki.kernel.errors import DomainError, InvalidError, UnsupportedError

#: longest value in a query or a form, in characters; the longest that any view accepts is a certificate in PEM
MOST_QUERY, MOST_FORM = 4000, 100_000


#: names of UTF-8, and of ASCII, which is a subset of it
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class PlainTextMiddleware:
    """Answer 400 to a path or a query with characters that are not text, and 415 to a body in another charset."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:  # untyped: response or coroutine
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request, or reject it."""
        refused = _refusal(request)
        if self.is_async:
            return _ready(refused) if refused else self.get_response(request)
        return refused or self.get_response(request)


def check_form(request: HttpRequest) -> None:
    """Reject a form with characters that are not text; line ends and tabs are text.

    Raises:
        InvalidError: the message names the field.
    """
    _check_fields(request.POST, MOST_FORM)
    for field, files in request.FILES.lists():
        intake.check_identifier(field, "name of a file field", most=100)
        for file in files:
            intake.check_identifier(file.name, field, most=400)


def _check_fields(given: QueryDict, most: int) -> None:
    for name, values in given.lists():
        intake.check_identifier(name, "name of a field", most=100)
        for value in values:
            intake.read_text(value, intake.shown_name(name), most=most)


def _refusal(request: HttpRequest) -> HttpResponseBase | None:
    try:
        _check_charset(request)
        intake.check_identifier(request.path_info, "path")
        _check_fields(request.GET, MOST_QUERY)
    except UnsupportedError as error:
        return _problem(415, error)
    except InvalidError as error:
        return _problem(400, error)
    return None


def _check_charset(request: HttpRequest) -> None:
    """Reject a charset other than UTF-8; Django would decode any codec that Python knows, even `hex` and `rot13`.

    Raises:
        UnsupportedError: the message names the charset.
    """
    charset = (request.content_params or {}).get("charset")
    if charset is None:
        return
    if charset.strip().lower() not in CHARSETS:
        msg = f"The charset {intake.shown_name(charset[:40])!r} is not supported. Send the body in UTF-8."
        raise UnsupportedError(msg)
    request.encoding = "utf-8"


def _problem(status: int, error: DomainError) -> HttpResponseBase:
    problem = problem_document(status, error.kind, error.detail)
    return JsonResponse(problem, status=status, content_type=PROBLEM_TYPE)


async def _ready(response: HttpResponseBase) -> HttpResponseBase:
    return response
