"""Every body of the OpenAPI document has an example, and each example is what its schema allows."""

import json

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from fleet.api.examples import given_examples, operations_of
from tests.architecture.sources import ROOT

DOCUMENT = json.loads((ROOT / "docs/reference/openapi.json").read_text())


def bodies():
    """Yield operation, place and content of each request body and each answer of success."""
    for path, method, operation in operations_of(DOCUMENT):
        name = f"{method.upper()} {path}"
        if body := operation.get("requestBody"):
            yield name, ("paths", path, method, "requestBody", "content"), body["content"]
        for status in ("200", "201"):
            if answer := operation["responses"].get(status):
                yield name, ("paths", path, method, "responses", status, "content"), answer["content"]


BODIES = list(bodies())


def schema_at(*place):
    root = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    words = (part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D") for part in place)
    registry = Registry().with_resource("urn:openapi", root)
    checker = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator({"$ref": "urn:openapi#/" + "/".join(words)}, registry=registry, format_checker=checker)


def example_of(media):
    [reference] = [one["$ref"] for one in media["examples"].values()]
    return DOCUMENT["components"]["examples"][reference.rpartition("/")[2]]["value"]


def test_every_operation_is_walked():
    assert len({name for name, _, _ in BODIES}) >= len(list(operations_of(DOCUMENT))) - 2  # two answer 204


@pytest.mark.parametrize(
    ("name", "place", "content"), BODIES, ids=["-".join((*one[1][1:3], one[1][-2])) for one in BODIES]
)
def test_the_example_of_a_body_is_allowed_by_its_schema(name, place, content):
    for media_type, media in content.items():
        example = example_of(media)
        assert example not in ({}, []), name
        wrong = [error.message for error in schema_at(*place, media_type, "schema").iter_errors(example)]
        assert wrong == []


def test_an_example_leaves_out_no_member_of_an_answer():
    for name, place, content in BODIES:
        schema = schema_at(*place, "application/json", "schema") if "application/json" in content else None
        if schema is None or "requestBody" in place:
            continue
        known = DOCUMENT["components"]["schemas"][content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        missing = set(known["properties"]) - set(example_of(content["application/json"])) - {"count"}
        assert missing == set(), name


def test_no_example_is_written_for_nothing():
    names = {one.removeprefix("Patched") for one in DOCUMENT["components"]["schemas"]}
    unused = {name for name in given_examples() if name not in names and " " not in name}
    assert unused == set()


def test_every_parameter_and_every_field_of_a_body_says_what_it_means():
    silent = []
    for path, method, operation in operations_of(DOCUMENT):
        silent += [(path, method, one["name"]) for one in operation.get("parameters", ()) if not one.get("description")]
        for media in operation.get("requestBody", {}).get("content", {}).values():
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            members = DOCUMENT["components"]["schemas"].get(name, {}).get("properties", {})
            silent += [(name, member) for member, schema in members.items() if not schema.get("description")]
    assert silent == []
