"""Restrict access to the sign-in and set-up pages until password and second factor are set up."""

from collections.abc import Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from fleet.operators.models import Operator

OPEN = ("/sign-in", "/sign-out", "/set-up", "/static/", "/healthz", "/readyz", "/metrics", "/api/")


class FinishedSetUpMiddleware:
    """Redirect people who are not signed in, or whose account is not set up, to the sign-in page."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], object]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> object:
        """Pass the request on, or redirect."""
        if self.is_async:
            return self._asynchronous(request)
        return _elsewhere(request) or self.get_response(request)

    async def _asynchronous(self, request: HttpRequest) -> object:
        elsewhere = await sync_to_async(_elsewhere)(request)
        return elsewhere or await self.get_response(request)  # type: ignore[misc]  # the next middleware is asynchronous here


def _elsewhere(request: HttpRequest) -> HttpResponseBase | None:
    if request.path.startswith(OPEN):
        return None
    operator = request.user
    if not isinstance(operator, Operator):
        return HttpResponseRedirect(f"{reverse('console:sign-in')}?next={request.path}")
    # Sign-in requires both factors. An account that has lost a factor must sign in again.
    return None if operator.set_up else HttpResponseRedirect(reverse("console:sign-in"))
