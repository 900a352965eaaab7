"""20 seeded hostile values a route; all of them in the acceptance suite, by MUSTER_HOSTILE_VALUES=0."""

import json
import os
import resource
from pathlib import Path

import pytest

from fleet.operators.services import tokens
from pki.kernel.actor import Role
from tests.factories.ground import system
from tests.factories.people import person_with
from tests.fleet.api.test_roles import ACTS, ids
from tests.fleet.hostile import corpus, drive, routes
from tests.fleet.hostile.ground import ground
from tests.regressions import regression

pytestmark = [
    pytest.mark.django_db(databases=["default", "telemetry"]),
    # Django's temporary file of an upload that a view refuses before it reads it is closed by the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
__all__ = ["ground", "ids"]
#: values a route; 0 for all
SEEDED = int(os.environ.get("MUSTER_HOSTILE_VALUES", "20"))
MOST_GROWTH_MB = 200


@pytest.fixture
def driver(domain, ground, fleet):
    """Return a driver with an administrator's token and session, a device, and nobody."""
    operator = person_with(domain, f"root_{domain.slug}", list(Role))
    _, secret = tokens.create(actor=system(domain), operator=operator, name="hostile")
    session = drive.anonymous()
    session.force_login(operator)
    made = drive.Driver(
        ground,
        fleet.enrolled[0],
        {
            "token": (drive.anonymous(), {"authorization": f"Bearer {secret}"}),
            "session": (session, {}),
            "nobody": (drive.anonymous(), {}),
        },
    )
    yield made
    made.close()


def everything():
    """Return every route with who asks."""
    operator = routes.operator([act[:3] for act in ACTS])
    by_hand = [(route, "token" if route.path.startswith("/api/") else "session") for route in operator]
    rest = [*routes.device(), *routes.coap()]
    return [*by_hand, *((route, "device") for route in rest), *((route, "nobody") for route in routes.status())]


def lists(ids):
    """Return lists and details of both faces."""
    api = [f"/api/v1{path.format(**ids)}" for method, path, _, _ in ACTS if method == "GET"]
    api = [f"{path}?metric=temp_c" if path.endswith("/telemetry") else path for path in api]
    console = ["/", "/devices", "/tokens", "/approvals", "/authorities", "/certificates", "/incidents", "/bundles", "/rollouts", "/ledger"]  # fmt: skip
    console += [f"/devices/{ids['device']}", f"/devices/{ids['third_device']}", f"/incidents/{ids['incident']}"]
    return [*api, *console, f"/bundles/{ids['bundle']}", f"/rollouts/{ids['rollout']}"]


def judge(driver, ids, most, seed):
    """Send cases to every route, then look at every list; return what is wrong."""
    dice = drive.shuffled(seed)
    for route, caller in everything():
        if route.path in drive.SLOW:
            continue
        for number, case in enumerate(drive.cases(route, dice, most)):
            driver.run(route, case, "nobody" if number % 5 == 4 else caller)
    wrong = list(driver.wrong)
    for caller in ("token", "session"):
        client, headers = driver.clients[caller]
        paths = [path for path in lists(ids) if path.startswith("/api") == (caller == "token")]
        wrong += drive.poisoned(client, headers, paths)
    return wrong


def test_the_corpus_and_the_routes_are_many():
    assert corpus.count() >= 300
    listeners = {route.listener for route, _ in everything()}
    assert listeners == {"operator", "device", "coap", "status"}
    assert len(everything()) >= 200


@regression("B2", "20 hostile values for each route of each listener: text, in every place")
@regression("B5", "20 hostile values for each route of each listener: numbers and nesting, in every place")
def test_no_hostile_value_breaks_a_route_or_is_stored_as_poison(driver, ids):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = judge(driver, ids, SEEDED, 14)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if target := os.environ.get("MUSTER_HOSTILE_RESULT"):
        found = {"sent": driver.sent, "statuses": driver.counts, "growth_mb": growth, "wrong": wrong}
        Path(target).write_text(json.dumps(found))
    assert wrong == [], f"{len(wrong)} of {driver.sent}; statuses {sorted(driver.counts.items())}"
    assert growth < MOST_GROWTH_MB


def test_the_good_request_of_each_route_is_answered(driver):
    wrong = []
    for route, caller in everything():
        if route.path in drive.SLOW:
            continue
        code, text = driver.good(route, caller)
        if code not in routes.expected(route):
            wrong.append(f"{route}: {code} {text}")
    assert wrong == []
