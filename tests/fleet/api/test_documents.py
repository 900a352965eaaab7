"""Stored documents in responses: described member by member, and the suite's comparison accepts no other member."""

import json
from typing import Literal, NotRequired, TypedDict

import pytest
from django.http import HttpResponse  # noqa: TID251  because it stands for what a view returns

from devices.incident_documents import Explanation
from fleet.api.documents import schema_of
from fleet.api.examples import composed_example, given_examples
from tests.architecture.sources import ROOT
from tests.contract import AnswerError, check_answer

SCHEMAS = json.loads((ROOT / "docs/reference/openapi.json").read_text())["components"]["schemas"]
#: schema without members, by type and member: what these hold depends on a value beside it, or on the device
FREE = {
    ("DeviceOut", "desired"),
    ("DeviceOut", "reported"),
    ("EntryOut", "detail"),
    ("HardwareOut", "runtime"),
    ("InclusionOut", "leaf"),
    ("PreparedOut", "before"),
    ("PreparedOut", "documents"),
    ("PreparedOut", "exhibits"),
    ("TwinOut", "delta"),
    ("TwinOut", "desired"),
    ("TwinOut", "reported"),
    ("WaitingOut", "facts"),
}


class Inner(TypedDict):
    """Members of each kind."""

    word: Literal["a", "b"]
    number: int | str
    maybe: NotRequired[float | None]


def test_a_typed_document_becomes_a_schema():
    assert schema_of(dict[str, list[Inner]]) == {
        "type": "object",
        "additionalProperties": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "word": {"type": "string", "enum": ["a", "b"]},
                    "number": {"type": ["integer", "string"]},
                    "maybe": {"type": ["number", "null"]},
                },
                "required": ["number", "word"],
            },
        },
    }
    assert schema_of(list[str] | dict[str, object]) == {
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {}},
        ]
    }
    assert schema_of(Explanation)["required"] == ["layer", "metrics", "score", "text"]


def test_a_type_that_json_does_not_have_is_refused():
    with pytest.raises(TypeError, match="complex"):
        schema_of(list[complex])


def test_only_named_members_of_responses_are_free_objects():
    found = {
        (name, member)
        for name, schema in SCHEMAS.items()
        if name.endswith("Out")
        for member, inner in schema["properties"].items()
        if not set(inner) - {"description", "readOnly"} or inner.get("additionalProperties") == {}
    }
    assert found == FREE


def answer(kind, change):
    """Return a response of one object: its example, changed."""
    body = json.loads(json.dumps(composed_example(kind, SCHEMAS)))
    change(body)
    return HttpResponse(json.dumps(body), content_type="application/json")


PLACES = {
    "RolloutOut": ("rollouts", [(), ("progress",), ("progress", "waves", 0)]),
    "DeviceOut": ("devices", [(), ("identities", 0)]),
    "IncidentOut": ("incidents", [(), ("explanation",), ("explanation", "metrics", 0), ("reaction",)]),
    "BundleOut": ("bundles", [(), ("facts",), ("report", 0)]),
}


@pytest.mark.parametrize(
    ("kind", "inside"), [(kind, place) for kind, (_, places) in PLACES.items() for place in places]
)
def test_a_member_that_the_document_does_not_describe_fails_the_test_that_asked(kind, inside):
    def add(body):
        for step in inside:
            body = body[step]
        body["odd"] = 1

    path = f"/api/v1/{PLACES[kind][0]}/{given_examples()[kind]['id']}"
    check_answer("GET", path, answer(kind, lambda _: None))
    with pytest.raises(AnswerError, match="odd"):
        check_answer("GET", path, answer(kind, add))
