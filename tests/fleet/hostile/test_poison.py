"""Free text of foreign clients is answered 200; poison that was stored before breaks no list."""

import json

import pytest
from django.db import connection

from devices.models import Twin
from fleet.gateway import http, protocol
from fleet.gateway.protocol import DeviceRequest, ResponseOutcome, TransportPeer
from ota.models import AssignmentEvent
from tests.factories.people import signed_in
from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
POISON = ["1.0\\u0000", "1.0\\ud800", "\\udfff", "a\\u202eb", "\\u0007"]


def call(fleet, method, path, body):
    one = fleet.enrolled[0]
    peer = TransportPeer(one.certificate.fingerprint, bytes(one.certificate.der), "192.0.2.1")
    base = f"/{one.device.domain.slug.upper()}/controller/v1/{one.device.name}"
    asked = DeviceRequest(
        peer, method, f"{base}{path}", "localhost", "localhost", body, {"content-type": "application/json"}
    )
    return protocol.answer_request(asked, http.ADAPTERS)


@regression("B2", "NUL, lone surrogates, directions and overlong text in DDI configData and feedback")
@pytest.mark.parametrize("text", [*POISON, "x" * 50_000])
def test_free_text_of_a_ddi_client_is_kept_clean_and_answered_200(fleet, domain, text):
    body = b'{"data":{"sw_version":"%s","fine":"1"},"zz":{"unknown":[1e999,99999999999999999999]}}' % text.encode()
    assert call(fleet, "PUT", "/configData", body).outcome is ResponseOutcome.OK
    reported = Twin.objects.get(device=fleet.devices[0]).reported
    assert reported["attributes"]["fine"] == "1"
    assert reported["altered"] == ["sw_version"]
    assert len(reported["attributes"]["sw_version"].encode()) < 600
    action = fleet.rollouts[0].assignments.filter(device=fleet.devices[0]).first()
    told = b'{"id":7,"status":{"execution":"proceeding","result":{"finished":"none"},"details":["%s"]}}' % text.encode()
    assert call(fleet, "POST", f"/deploymentBase/{action.action_id}/feedback", told).outcome is ResponseOutcome.OK
    kept = AssignmentEvent.objects.filter(assignment=action).order_by("-id").first().text
    assert kept.endswith(("[characters replaced]", "[cut]"))
    client = signed_in(domain, f"vic_{domain.slug}", ["viewer", "operator"])
    for path in ("/api/v1/devices", "/api/v1/assignments", "/devices", f"/devices/{fleet.devices[0].key}"):
        answer = client.get(path, secure=True)
        assert (answer.status_code, bool(answer.content.decode())) == (200, True)


@regression("B2", "names of DDI attributes, and of modes, that are none")
@pytest.mark.parametrize("body", [b'{"data":{"a\\u0000":"1"}}', b'{"data":{"\\ud800":"1"}}', b'{"data":{"a":{}}}', b'{"data":{},"mode":"drop"}', b'{"data":[]}', b"[]", b'{"data":{"a":"1","a":"2"}}'])  # fmt: skip
def test_identifiers_of_a_ddi_client_are_refused(fleet, body):
    assert call(fleet, "PUT", "/configData", body).outcome is ResponseOutcome.INVALID


def test_attributes_are_merged_replaced_and_removed_and_have_a_quota(fleet):
    def send(body):
        return call(fleet, "PUT", "/configData", json.dumps(body).encode()).outcome

    def kept():
        return Twin.objects.get(device=fleet.devices[0]).reported["attributes"]

    assert send({"data": {"a": "1", "b": 2, "c": True}}) is ResponseOutcome.OK
    assert kept() == {"a": "1", "b": "2", "c": "true"}
    assert send({"data": {"a": ""}, "mode": "remove"}) is ResponseOutcome.OK
    assert kept() == {"b": "2", "c": "true"}
    assert send({"data": {str(number): "x" for number in range(100)}}) is ResponseOutcome.INVALID
    assert send({"data": {"n": "x"}, "mode": "replace"}) is ResponseOutcome.OK
    assert kept() == {"n": "x"}


@regression("B2", "poison in JSON columns that was stored before text was checked")
def test_poison_that_was_stored_before_breaks_no_list(fleet, domain):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL never took such text")
    with connection.cursor() as cursor:
        poison = '{"attributes": {"sw_version": "1.0\\ud800\\u0000"}}'
        cursor.execute("UPDATE devices_twin SET reported = %s", [poison])
    client = signed_in(domain, f"vic_{domain.slug}", ["viewer", "operator"])
    answer = client.get("/api/v1/devices", secure=True)
    assert "1.0\ufffd\ufffd" in answer.content.decode()
    assert client.get(f"/devices/{fleet.devices[0].key}", secure=True).status_code == 200
    twin = Twin.objects.get(device=fleet.devices[0])
    twin.save()
    assert "\ufffd" in twin.reported["attributes"]["sw_version"], "and what is written back is clean"
