"""The committed OpenAPI document is the one that the code makes."""

import json
import re

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from pki.keys import KEY_TYPES
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


def described(schema, place=""):
    """Yield place and description of everything in a schema that has one."""
    if isinstance(schema, dict):
        if isinstance(said := schema.get("description"), str):
            yield place, said
        for name, inner in schema.items():
            yield from described(inner, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from described(inner, f"{place}/{number}")


def test_descriptions_of_fields_are_nouns_and_not_orders_to_a_function():
    document = generated()
    said = list(described(document["components"]["schemas"]))
    for path, operations in document["paths"].items():
        said += [one for operation in operations.values() for one in described(operation.get("parameters", []), path)]
    assert len(said) > 300
    assert [one for one in said if one[1].startswith("Return")] == []
    assert [one for one in said if re.search(r"[.?] In \w", one[1])] == []  # a unit that is no part of the sentence


def test_the_key_type_that_a_description_names_is_one():
    says = generated()["components"]["schemas"]["ProfileIn"]["properties"]["key_types"]["description"]
    named = re.findall("`([^`]+)`", says)
    assert named
    assert set(named) <= set(KEY_TYPES)
