"""The device list takes the query language from its address: whole, or not at all."""

import pytest
from django.utils.http import urlencode

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


def listed(client, text):
    return client.get(f"/devices?{urlencode({'query': text})}", secure=True)


def test_a_long_query_is_not_cut(client, fleet):
    name = fleet.devices[0].name
    padding = " ".join(["not quarantined and"] * 8)
    answer = listed(client, f"{padding} name = {name}")
    assert answer.status_code == 200
    assert answer.content.decode().count(f"/devices/{fleet.devices[0].public_id}") >= 1
    assert f"/devices/{fleet.devices[1].public_id}" not in answer.content.decode()


@pytest.mark.parametrize("text", ["colour = red", "quarantined and " * 63 + "quarantined"])
def test_what_is_no_query_is_told_and_lists_nothing(client, fleet, text):
    answer = listed(client, text)
    assert answer.status_code == 422
    assert f"/devices/{fleet.devices[0].public_id}" not in answer.content.decode()
