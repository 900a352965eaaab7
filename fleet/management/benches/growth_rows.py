"""Rows of the growth benchmark: one per route and database, and a few summaries."""

from typing import TYPE_CHECKING, TypedDict

from fleet.management.benches.growth_processes import StartCost, VerifyCost, WorkerCost
from fleet.management.benches.rows import BenchRow, RouteRow, bench_row, load_average

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.management.benches.growth_answers import RouteCost

CPU_MS, RATIO, QUERIES = 150.0, 1.5, 15
#: ms; below this value a ratio reflects the clock more than the route
CHEAP_MS = 5.0
IDLE_PERCENT, WORKER_MB, START_S, VERIFY_MB = 3.0, 200.0, 8.0, 100.0
WORST = 8
OK = 200


class Seen(TypedDict, total=False):
    """Measurements of one installation; ``failures`` has the reason for each part that could not be measured.

    Args:
        failures: part -> reason.
        answers: of every route.
        worker: an idle worker.
        start: start of the server.
        verify: audit-log verification.
    """

    failures: dict[str, str]
    answers: "list[RouteCost]"
    worker: WorkerCost
    start: StartCost
    verify: VerifyCost


def answer_rows(database: str, seen: "Mapping[int, list[RouteCost]]") -> list[BenchRow]:
    """Return the rows of all routes, preceded by the number of routes that miss each goal, with the worst by name.

    Args:
        database: name of the database.
        seen: devices -> answers (``growth_answers.RouteCost``), ascending.
    """
    sizes = sorted(seen)
    by_size = {size: {cost["name"]: cost for cost in seen[size]} for size in sizes}
    names = sorted({name for value in by_size.values() for name in value})
    routes = [_route_row(database, name, {size: by_size[size].get(name) for size in sizes}) for name in names]
    return [*_summaries(database, sizes, routes), *routes]


def _route_row(database: str, name: str, at: "Mapping[int, RouteCost | None]") -> RouteRow:
    """Return the row of one route: its cost at the largest size, and whether it meets all of its goals."""
    least, large = min(at), max(at)
    small = sorted(at)[-2] if len(at) > 1 else large
    ms = {size: cost["ms"] if cost else 0.0 for size, cost in at.items()}
    queries = {size: cost["queries"] for size, cost in at.items() if cost}
    statuses = {size: cost["status"] for size, cost in at.items() if cost}
    ratio = ms[large] / ms[small] if ms[small] else 0.0
    checks = {
        # A short list has no next page: a route that is missing at a smaller size is not a failure.
        "answers": large in statuses and all(status == OK for status in statuses.values()),
        "cpu": ms[large] <= CPU_MS,
        "ratio": ratio <= RATIO or ms[large] < CHEAP_MS,
        "queries": max(queries.values(), default=0) <= QUERIES,
    }
    against = (
        f"{small} devices: ratio at most {RATIO} (counts as met below {CHEAP_MS:g} ms); at most {QUERIES} queries at "
        f"{least} and at {large}; status 200"
    )
    missed = [check for check, good in checks.items() if not good]
    return {
        "name": f"{database}: {name}", "value": ms[large], "unit": "ms", "goal": CPU_MS, "met": not missed,
        "ratio": round(ratio, 2), "ms": ms, "queries": queries, "status": statuses, "missed": missed,
        "against": against,
    }  # fmt: skip


def _summaries(database: str, sizes: list[int], routes: list[RouteRow]) -> list[BenchRow]:
    against = (
        f"{database}; {sizes[-1]} devices against {sizes[:-1]}; {len(routes)} routes and filters; processor time of "
        f"one thread and its database sessions, median of 3; {load_average()}"
    )
    rows = []
    goals = {
        "answers": "do not answer with 200",
        "cpu": f"take more than {CPU_MS:g} ms",
        "ratio": f"cost more than {RATIO} times as much",
        "queries": f"make more than {QUERIES} queries",
    }
    for check, words in goals.items():
        bad = sorted((route for route in routes if check in route["missed"]), key=lambda one: -_weight(one, check))
        worst = ", ".join(f"{route['name'].partition(': ')[2]} ({_weight(route, check):g})" for route in bad[:WORST])
        rows.append(
            bench_row(f"{database}: routes that {words}", len(bad), "routes", 0, f"{worst or 'none'}; {against}")
        )
    slowest = max(routes, key=lambda one: float(one["value"]), default=None)
    if slowest:
        name = slowest["name"].partition(": ")[2]
        rows.append(bench_row(f"{database}: slowest route", slowest["value"], "ms", CPU_MS, f"{name}; {against}"))
    return rows


def _weight(route: RouteRow, check: str) -> float:
    """Return by how much a row misses a goal: the sort key of the worst routes."""
    if check == "answers":
        return float(max(route["status"].values(), default=0))
    return float(
        {"cpu": route["value"], "ratio": route["ratio"], "queries": max(route["queries"].values(), default=0)}[check]
    )


def process_rows(database: str, size: int, seen: Seen) -> list[BenchRow]:
    """Return the rows of worker, start and audit-log verification; a failure has its reason instead of a value."""
    against, rows = f"{database}; {size} devices; {load_average()}", []
    if worker := seen.get("worker"):
        about = f"{worker['first_s']:.1f} s of processor time in its first seconds, not counted; {against}"
        rows += [
            bench_row(f"{database}: idle worker, share of a core", worker["share"], "%", IDLE_PERCENT, about),
            bench_row(f"{database}: idle worker, most memory", worker["memory_mb"], "MB", WORKER_MB, about),
        ]
    if start := seen.get("start"):
        about = f"{start['processor_s']:.1f} s of processor time; {against}"
        rows.append(bench_row(f"{database}: start to the first answer", start["seconds"], "s", START_S, about))
    if check := seen.get("verify"):
        about = f"took {check['seconds']:.1f} s; {check['said']} {against}"
        rows += [
            bench_row(f"{database}: ledger verify, most memory", check["memory_mb"], "MB", VERIFY_MB, about),
            bench_row(f"{database}: ledger verify, problems", int(not check["ok"]), "runs", 0, about),
        ]
    for name, said in seen["failures"].items():
        rows.append(bench_row(f"{database}: {name} could not be measured", 1, "failures", 0, f"{said}; {against}"))
    return rows
