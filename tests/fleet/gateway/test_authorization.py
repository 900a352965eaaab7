"""The Authorization field of an enrolment, written as nobody should write it."""

import base64

import pytest

from fleet.gateway import http
from fleet.gateway.limiter import _secret
from fleet.gateway.protocol import DeviceRequest, ResponseOutcome, TransportPeer, answer_request
from tests.factories.devices import csr
from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
FIELDS = [
    "Basic \xe9",
    "Basic \xff\xff",
    "Basic QQ=",
    "Basic YTpi\xe9",
    "Basic gICA",
    "Bearer \xff",
    "Basic",
    "B\xe9 x",
]


@regression("B2", "an Authorization field that is not ASCII, not base64, or no text inside")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
def test_an_enrolment_with_a_malformed_authorization_is_refused(workshop, operation, field):
    host = f"{workshop.domain.slug}.example"
    headers = {"authorization": field, "content-type": "application/pkcs10"}
    body = base64.b64encode(csr("malformed")[0])
    request = DeviceRequest(TransportPeer(), "POST", f"/.well-known/est/{operation}", host, host, body, headers)
    assert answer_request(request, http.ADAPTERS).outcome in {ResponseOutcome.INVALID, ResponseOutcome.UNAUTHENTICATED}


@pytest.mark.parametrize("field", FIELDS)
def test_a_malformed_authorization_shows_no_token(field):
    assert _secret(field) in {"", "\xff", "\x80\x80"}


def test_the_token_of_a_usual_field_is_found():
    assert _secret("Basic " + base64.b64encode(b"name:met_x").decode()) == _secret("bearer met_x") == "met_x"
