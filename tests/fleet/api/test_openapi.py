"""The committed OpenAPI document is the one that the code makes."""

import json

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from tests.architecture.sources import ROOT

COMMITTED = ROOT / "docs/reference/openapi.json"


def generated():
    return json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))


def test_the_committed_document_is_up_to_date():
    advice = "run: FLEET_DIR=$(mktemp -d) .venv/bin/python manage.py spectacular --format openapi-json --file docs/reference/openapi.json"
    assert json.loads(COMMITTED.read_text()) == generated(), advice


def test_it_is_valid_openapi_3_1():
    document = generated()
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_every_act_of_the_story_is_there():
    paths = set(generated()["paths"])
    for path in ("devices", "enrolment-tokens", "bundles", "releases", "rollouts", "incidents", "ledger"):
        assert f"/api/v1/{path}" in paths
