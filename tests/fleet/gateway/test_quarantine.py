"""One gate for every protocol: a quarantined device gets what its repair needs, and the same refusal for the rest."""

import ast
import base64
import json

import cbor2
import pytest

from devices.services import quarantine
from fleet.gateway import http
from fleet.gateway.coap import listener
from fleet.gateway.protocol import DeviceRequest, ResponseOutcome, TransportPeer, answer_request
from tests.architecture.sources import modules
from tests.factories.devices import csr
from tests.factories.ground import system

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
REFUSAL = "The device is quarantined. It can use only the resources for its repair."
TRANSPORTS = {"HTTPS": http.ADAPTERS, "CoAP": listener.ADAPTERS}
BATCH = json.dumps({"seq": 1, "metrics": {}}).encode()
RENEWAL = csr("dev-1")[0]
#: transport, method, path, body
REFUSED = [
    ("HTTPS", "POST", "/v1/telemetry", BATCH),
    ("HTTPS", "GET", "/v1/twin", b""),
    ("HTTPS", "POST", "/.well-known/est/simplereenroll", base64.b64encode(RENEWAL)),
    ("CoAP", "POST", "/v1/telemetry", BATCH),
    ("CoAP", "GET", "/v1/twin", b""),
    ("CoAP", "POST", "/.well-known/est/sren", RENEWAL),
]
ANSWERED = [
    ("HTTPS", "GET", "/v1/poll", b""),
    ("HTTPS", "GET", "/{tenant}/controller/v1/dev-1", b""),
    ("CoAP", "GET", "/v1/poll", b""),
]


@pytest.fixture
def quarantined(domain, enrol):
    """Return a quarantined device, and the way in which it asks."""
    one = enrol("dev-1")
    quarantine.quarantine_device(actor=system(domain), device=one.device, reason="test")
    peer = TransportPeer(one.certificate.fingerprint, bytes(one.certificate.der))
    host = f"{domain.slug}.example"

    def ask(transport, method, path, body):
        headers = {"content-type": "application/json", "accept": "application/json"} if body is BATCH else {}
        request = DeviceRequest(peer, method, path.format(tenant=domain.slug), host, host, body, headers)
        return answer_request(request, TRANSPORTS[transport])

    return ask


@pytest.mark.parametrize(("transport", "method", "path", "body"), REFUSED)
def test_every_protocol_refuses_a_quarantined_device_alike(quarantined, transport, method, path, body):
    reply = quarantined(transport, method, path, body)
    assert reply.outcome is ResponseOutcome.DENIED
    assert _text(reply) == REFUSAL


@pytest.mark.parametrize(("transport", "method", "path", "body"), ANSWERED)
def test_every_protocol_answers_what_its_repair_needs(quarantined, transport, method, path, body):
    assert quarantined(transport, method, path, body).outcome is ResponseOutcome.OK


def test_no_adapter_identifies_a_device_without_the_gate():
    calling = {}
    for path, tree in modules().items():
        if path.parts[:2] == ("fleet", "gateway"):
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and {"authenticate_device", "get_child"} & (
                    called := _asked_of_identity(node)
                ):
                    calling[f"{path}: {node.name}"] = "gate_quarantined" in called
    assert len(calling) >= 3
    assert all(calling.values()), calling


def _asked_of_identity(node):
    return {
        one.func.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and ast.unparse(one.func.value) == "identity"
    }


def _text(reply):
    if reply.content_type.startswith("text/plain"):
        return reply.payload.decode().strip()
    return (json.loads if "json" in reply.content_type else cbor2.loads)(reply.payload)["detail"]
