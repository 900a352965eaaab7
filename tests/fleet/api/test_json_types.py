"""A field of a body takes its own JSON type only, and an address its own methods."""

import pytest
from rest_framework import serializers

from fleet.api.base import Input, type_error
from fleet.api.enrolment import SwitchIn, TokenIn
from fleet.api.field import MembersIn
from fleet.api.rollouts import RolloutIn
from pki.kernel.actor import Role
from tests.factories.people import person_with
from tests.regressions import regression

GOOD = {
    TokenIn: {"hardware": "node", "devices": ["a"], "count": 2, "days": 7, "profile": "device"},
    SwitchIn: {"override": True},
    MembersIn: {"add": ["a"], "remove": []},
    RolloutIn: {"name": "r", "release": "01931d2e-7c40-7006-8a5b-5f0c1d2e3f40", "waves": [{"share": 1000}]},
}


def errors(shape, **change):
    given = shape(data=GOOD[shape] | change)
    return set() if given.is_valid() else set(given.errors)


@regression("B5", "numbers as text, text as numbers, 0 and 1 as truth values, in bodies of the REST API")
@pytest.mark.parametrize(
    ("shape", "name", "value"),
    [
        (TokenIn, "hardware", 7), (TokenIn, "hardware", True), (TokenIn, "count", "2"), (TokenIn, "count", 2.0),
        (TokenIn, "count", True), (TokenIn, "devices", [7]), (TokenIn, "devices", "a"), (TokenIn, "profile", 1),
        (SwitchIn, "override", 1), (SwitchIn, "override", "true"), (MembersIn, "add", [None]), (MembersIn, "add", {}),
        (RolloutIn, "release", 5), (RolloutIn, "waves", [{"share": "1000"}]), (RolloutIn, "waves", ["all"]),
    ],
)  # fmt: skip
def test_a_value_of_another_json_type_is_refused(shape, name, value):
    assert errors(shape) == set()
    assert errors(shape, **{name: value}) == {name}


def test_every_kind_of_field_of_every_input_is_checked():
    checked = (serializers.BooleanField, serializers.IntegerField, serializers.CharField, serializers.ChoiceField)
    containers = (serializers.ListField, serializers.DictField, serializers.ListSerializer, serializers.UUIDField)
    free = (serializers.JSONField, serializers.FileField)  # any JSON value by intent; parts of an upload
    inputs = [one for one in Input.__subclasses__() if one.__module__.startswith("fleet.api")]
    assert len(inputs) > 20
    for shape in inputs:
        for name, field in shape().fields.items():
            assert isinstance(field, (*checked, *containers, *free)), (shape.__name__, name)
            if isinstance(field, checked):
                assert type_error(field, object()), (shape.__name__, name)


@regression("B8", "OPTIONS and TRACE on addresses of the REST API")
@pytest.mark.django_db(databases=["default", "telemetry"])
def test_an_address_takes_the_methods_of_the_document_only(client, domain):
    client.force_login(person_with(domain, "olga", list(Role)))
    for method in ("OPTIONS", "TRACE", "PUT"):
        for query in ("", "?limit=3"):
            answer = client.generic(method, f"/api/v1/devices{query}", secure=True)
            assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.django_db(databases=["default", "telemetry"])
def test_a_name_of_another_form_than_an_id_is_not_found(client, domain):
    client.force_login(person_with(domain, "olga", list(Role)))
    for part in ("0cb7a650619857b0b-3a134a9fd0de3f60ba", "x", "01931D2E-7C40-7006-8A5B-5F0C1D2E3F40"):
        assert client.get(f"/api/v1/devices/{part}", secure=True).status_code == 404


def test_of_very_many_wrong_values_the_first_are_told():
    given = MembersIn(data={"add": [0] * 5_000, "remove": []})
    assert not given.is_valid()
    assert len(given.errors["add"]) == 20


def test_the_length_of_a_text_counts_as_it_was_sent():
    assert errors(TokenIn, hardware="node" + " " * 10_000) == {"hardware"}
    assert errors(TokenIn, profile=" " * 10_000) == {"profile"}
