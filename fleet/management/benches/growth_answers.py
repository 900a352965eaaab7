"""Request every route of the operator server as a person and as a program; count queries and processor time."""

import re
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from fleet.management.benches.growth_routes import Route, list_routes
from fleet.management.benches.growth_scene import NEWCOMER, PERSON
from fleet.operators.models import Operator
from fleet.operators.services import links, tokens
from pki.kernel import actor as actors
from pki.models import TrustDomain

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse

OK, NOT_ALLOWED = 200, 405
PASSWORD = "correct horse battery staple bench"  # noqa: S105  because it belongs to a person of a benchmark
#: seconds; a slower route is not requested again, to bound the benchmark's duration
SLOW_S = 1.0
_AFTER = re.compile(r'href="(\?[^"]*\bafter=[^"]*)"')


class RouteCost(TypedDict):
    """Cost of a route, as JSON between the benchmark's processes.

    Args:
        name: of the route.
        status: HTTP status.
        ms: processor time of this process and of its database sessions on PostgreSQL, median.
        queries: on both databases.
        bytes: of the answer.
    """

    name: str
    status: int
    ms: float
    queries: int
    bytes: int


def request_routes(domain: TrustDomain, runs: int) -> list[RouteCost]:
    """Request all GET routes; for a list also its longest page, its next page and its total.

    Args:
        domain: trust domain of the caller.
        runs: number of requests for the cost, after one request for status and queries.
    """
    visitors = _Visitors(domain, runs)
    asked: list[RouteCost] = []
    for route in list_routes(domain):
        cost, further = _measured(visitors, route)
        if cost["status"] == NOT_ALLOWED:
            continue
        asked.append(cost)
        asked += [_measured(visitors, page)[0] for page in further]
    return asked


class _Visitors:
    """Clients: a person with all roles, that person's program, and a person who sets up an account."""

    def __init__(self, domain: TrustDomain, runs: int) -> None:
        self.runs = runs
        operator = Operator.objects.get(domain=domain, username=f"{PERSON}_0")
        who = actors.system_actor(domain.slug, "bench")
        _, secret = tokens.create(actor=who, operator=operator, name="growth")
        self.program = _client(authorization=f"Bearer {secret}")
        self.person = _client()
        self.person.force_login(operator)
        self.newcomer = _client()
        _, path = links.create_link(actor=who, operator=Operator.objects.get(domain=domain, username=NEWCOMER))
        self.newcomer.post(path, secure=True)
        self.newcomer.post(reverse("console:set-up-password"), {"password": PASSWORD}, secure=True)

    def of(self, route: Route) -> Client:
        """Return the client for a route."""
        if route.is_api:
            return self.program
        return self.newcomer if route.name.startswith("/set-up/") else self.person


def _measured(visitors: _Visitors, route: Route) -> tuple[RouteCost, list[Route]]:
    """Request a route once for status and queries, then for its cost; return further requests that it offers."""
    client = visitors.of(route)
    with ExitStack() as stack:
        counters = [stack.enter_context(CaptureQueriesContext(connections[name])) for name in ("default", "telemetry")]
        first, response = _cost(client, route)
    queries = sum(len(counter) for counter in counters)
    took = (
        [first]
        if first > SLOW_S or response.status_code == NOT_ALLOWED
        else [_cost(client, route)[0] for _ in range(visitors.runs)]
    )
    status, ms = response.status_code, round(statistics.median(took) * 1000, 2)
    sys.stderr.write(f"{route.name}: {status}, {ms} ms, {queries} queries\n")  # it takes minutes
    cost: RouteCost = {
        "name": route.name, "status": status, "ms": ms, "queries": queries, "bytes": len(response.content),
    }  # fmt: skip
    return cost, list(_further(route, response)) if status == OK else []


def _cost(client: Client, route: Route) -> tuple[float, "_MonkeyPatchedWSGIResponse"]:
    """Return the processor seconds of one request, and its response."""
    before = _processor()
    response = client.get(route.path, secure=True)
    response.content  # noqa: B018  because a template answer is rendered by then at the latest
    return _processor() - before, response


def _processor() -> float:
    """Return the processor seconds of this process and its PostgreSQL sessions."""
    return time.process_time() + sum(map(_session, ("default", "telemetry")))


def _session(alias: str) -> float:
    """Return the processor seconds of the PostgreSQL process of one of our connections; 0 on SQLite."""
    real = connections[alias]
    if real.vendor != "postgresql":
        return 0.0
    real.ensure_connection()
    with suppress(OSError):
        return int(Path(f"/proc/{real.connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


def _further(route: Route, response: "_MonkeyPatchedWSGIResponse") -> Iterator[Route]:
    """Yield a list's further requests: its longest page, its next page, its total."""
    mark = "&" if "?" in route.name else "?"
    if not route.is_api:
        if match := _AFTER.search(response.content.decode()):
            path = route.path.partition("?")[0] + match[1].replace("&amp;", "&")
            yield Route(f"{route.name} (next page)", path)
        return
    body = response.json() if response["Content-Type"].startswith("application/json") else None
    if not isinstance(body, dict) or "next" not in body or "limit=" in route.name:
        return
    if body["next"]:
        yield Route(f"{route.name} (next page)", body["next"])
    if mark == "?" and _has_pages(route):
        yield from (Route(f"{route.name}?{word}", f"{route.path}?{word}") for word in ("limit=500", "count=true"))


def _has_pages(route: Route) -> bool:
    """Return whether a list has pagination parameters; a short list is returned as a whole."""
    view = getattr(resolve(route.path.partition("?")[0]).func, "view_class", None)
    return "limit" in getattr(getattr(view, "get", None), "query_further", ())


def _client(**headers: str) -> Client:
    """Return a client that reports errors by status, like a browser."""
    return Client(raise_request_exception=False, headers={"host": "localhost", **headers})
