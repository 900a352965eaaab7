"""Logging of this process: JSON lines with request ids and without secrets."""

import json
import logging
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import LazyObject, empty

from pki.kernel import clock, ids

request_id: ContextVar[str] = ContextVar("request_id", default="")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET = re.compile(
    r"(?i)(met_|mst_)[A-Za-z0-9_-]{8,}|((?:authorization|password|secret|token|cookie)['\"]?\s*[:=]\s*)\S+"
)
#: the rest of such a path is a one-time secret
_ONE_TIME = re.compile(r"(?i)(/(?:sign-in|set-up|recover)/[a-z-]+/)[^/?#\s\"'<>]+")
_HIDDEN = "[hidden]"


class JsonFormatter(logging.Formatter):
    """Format one record as one JSON line: time, level, logger, message, ids, extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with everything that looks like a credential removed."""
        line: dict[str, object] = {
            "at": clock.now().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact_credentials(record.getMessage()),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = redact_credentials(str(value)) if not isinstance(value, int | float) else value
        if record.exc_info:
            line["traceback"] = redact_credentials(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def redact_credentials(text: str) -> str:
    """Return the text without credentials: our own token formats, values after sensitive names, one-time links."""
    text = _ONE_TIME.sub(rf"\1{_HIDDEN}", text)
    return _SECRET.sub(lambda match: f"{match[2] or match[1] or ''}{_HIDDEN}", text)


def configure_logging(config: dict[str, str]) -> None:
    """Send every log record of this process to standard error as JSON (Django's LOGGING_CONFIG)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.get("level", "INFO"))
    # It warns at each verification about officers who did not sign, but two signatures of three are the rule here.
    logging.getLogger("tuf").setLevel(logging.WARNING)
    # A wrong Host header is a client error: the access log has the 400 response, and no traceback is needed.
    logging.getLogger("django.security.DisallowedHost").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


class RequestLogMiddleware:
    """Give each request of the operator server an id, log its result, and return the id to the client."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:  # untyped: response or coroutine
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Handle the request inside its log context."""
        if self.is_async:
            return self._asynchronous(request)
        started, token = _begin(request)
        try:
            return _end(request, self.get_response(request), started)
        finally:
            request_id.reset(token)

    async def _asynchronous(self, request: HttpRequest) -> HttpResponseBase:
        started, token = _begin(request)
        try:
            return _end(request, await self.get_response(request), started)
        finally:
            request_id.reset(token)


def _begin(request: HttpRequest) -> "tuple[float, Token[str]]":
    identifier = str(ids.uuid7())
    request.META["muster.request_id"] = identifier
    return time.perf_counter(), request_id.set(identifier)


def _end(request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
    response["X-Request-Id"] = request_id.get()
    if _signed_in(request):
        getattr(request, "scope", {}).get("muster.proof", {})["person"] = True
    logging.getLogger("muster.access").info(
        "answered",
        extra={
            "door": "operator",
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "ms": round((time.perf_counter() - started) * 1000, 1),
        },
    )
    return response


def _signed_in(request: HttpRequest) -> bool:
    """Return whether the request is authenticated; if no view has checked that, this does not check either."""
    given = vars(request)
    user = given.get("_cached_user") or given.get("user")
    if user is None or (isinstance(user, LazyObject) and vars(user)["_wrapped"] is empty):
        return False
    return bool(user.is_authenticated)
