"""Every check of schemathesis over every operation of the API, against a fleet that has one of everything.

Two minutes here; ``python -m tests.acceptance contract`` runs it for longer, on both databases.
"""

import json
import os
from pathlib import Path

import pytest

from fleet.api.examples import operations_of
from tests.architecture.sources import ROOT
from tests.conformance import drive
from tests.conformance.reasons import RULES

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
SECONDS = int(os.environ.get("MUSTER_CONTRACT_SECONDS", "120"))
CASES = int(os.environ.get("MUSTER_CONTRACT_CASES", "3"))
DOCUMENT = json.loads((ROOT / "docs/reference/openapi.json").read_text())
OPERATIONS = {f"{method.upper()} {path}" for path, method, _ in operations_of(DOCUMENT)}


def test_every_check_over_every_operation(ground):
    found = drive.run(ground, SECONDS, CASES)
    if result := os.environ.get("MUSTER_CONTRACT_RESULT"):
        drive.written(found, Path(result))
    assert "\n".join(found.lines()) == ""
    assert set(found.sent) == OPERATIONS
    assert min(found.ran.values()) > len(OPERATIONS)


def test_linked_requests_find_what_the_ones_before_have_made(ground):
    found = drive.run(ground, max(SECONDS // 4, 10), CASES, linked=True)
    assert "\n".join(found.lines()) == ""
    assert sum(found.sent.values()) > CASES


def test_a_rule_without_an_operation_is_no_reason():
    assert set(RULES) - OPERATIONS == set()
