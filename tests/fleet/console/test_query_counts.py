"""No list page asks more of the database because there is more to show; the budgets stand as data."""

import json
from contextlib import ExitStack

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from tests.architecture.sources import ROOT

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
BUDGETS = json.loads((ROOT / "tests/architecture/query_counts.json").read_text())


def asked(client, path):
    """Return how many queries a page makes on both databases."""
    with ExitStack() as stack:
        counters = [stack.enter_context(CaptureQueriesContext(connections[name])) for name in ("default", "telemetry")]
        answer = client.get(path, secure=True)
    assert answer.status_code == 200, (path, answer.content[:500])
    return sum(len(one) for one in counters)


def test_every_list_page_stays_within_its_budget_however_long_the_list_is(client, fleet):
    few = {path: asked(client, path) for path in BUDGETS["lists"]}
    fleet.grow(devices=6)
    many = {path: asked(client, path) for path in BUDGETS["lists"]}
    assert many == few
    assert {path: number for path, number in many.items() if number > BUDGETS["lists"][path]} == {}


def test_every_detail_page_stays_within_its_budget(client, fleet):
    keys = {
        "device": fleet.devices[-1].public_id,
        "rollout": fleet.rollouts[-1].public_id,
        "bundle": fleet.bundles[-1].public_id,
        "incident": fleet.incident.public_id,
    }
    numbers = {kind: asked(client, f"/{kind}s/{key}") for kind, key in keys.items()}
    assert {kind: number for kind, number in numbers.items() if number > BUDGETS["details"][kind]} == {}
