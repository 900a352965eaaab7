"""Media types, ranges, links and formats of the device gateway as the RFCs say."""

import json

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from fleet.gateway import blobs, codec
from fleet.gateway.coap import mapping
from fleet.gateway.http import _request
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome, TransportPeer
from pki.kernel.errors import UnsupportedError
from tests.regressions import regression


def request(body=b"", method="POST", **fields):
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return DeviceRequest(TransportPeer(), method, "/v1/x", "", "", body, headers)


@regression("B8", "media types in other letters, with parameters, missing, or of another kind")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Application/JSON", b'{"a": 1}'),
        ("application/json; charset=utf-8", b'{"a": 1}'),
        ("APPLICATION/CBOR", cbor2.dumps({"a": 1})),
        ("application/cbor;x=json", cbor2.dumps({"a": 1})),
        (None, cbor2.dumps({"a": 1})),
    ],
)
def test_a_body_is_read_as_its_media_type_says(kind, body):
    fields = {} if kind is None else {"content_type": kind}
    assert codec.decode_body(request(body, **fields), None) == {"a": 1}


@pytest.mark.parametrize("kind", ["text/html", "application/x-www-form-urlencoded", "application/jsonx", "x", ""])
def test_another_media_type_is_refused_by_its_name(kind):
    with pytest.raises(UnsupportedError, match="Content-Type"):
        codec.decode_body(request(b"{}", content_type=kind), None)


@pytest.mark.parametrize(
    ("fields", "json_wanted"),
    [
        ({"content_type": "application/json"}, True),
        ({"content_type": "Application/JSON", "accept": "*/*"}, True),
        ({"content_type": "application/json", "accept": "application/cbor"}, False),
        ({"content_type": "application/cbor", "accept": "Application/Json;q=1"}, True),
        ({"accept": "text/html, application/json"}, True),
        ({}, False),
    ],
)
def test_the_answer_has_the_form_that_is_accepted(fields, json_wanted):
    reply = codec.encode_reply(request(**fields), {"a": 1}, 0)
    assert reply.content_type == (codec.JSON if json_wanted else codec.CBOR)
    assert (json.loads if json_wanted else cbor2.loads)(reply.payload) == {"a": 1}


@regression("B8", "lengths of answers without a body")
def test_not_modified_names_no_length():
    reply = Reply(headers={"etag": '"x"'})
    part = blobs.choose_range({"if-none-match": '"x"'}, 10, '"x"')
    assert part.status == 304
    assert b"content-length" not in dict(blobs.headers_of(reply, part, 10))


@regression("B8", "conditional requests: any tag, weak tags, their order, ranges in other letters")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": 'W/"x", "y"'}, 304),
        ({"if-none-match": '"y"'}, 200),
        ({"if-match": '"y"', "if-none-match": '"x"'}, 412),
        ({"if-match": 'W/"x"'}, 412),
        ({"if-match": ' "y", "x"'}, 200),
        ({"if-match": "*"}, 200),
        ({"range": "Bytes=2-3"}, 206),
        ({"range": "bytes=2-3", "if-range": 'W/"x"'}, 200),
        ({"range": "bytes=3-2"}, 200),
        ({"range": "bytes=10-"}, 416),
        ({"range": "bytes=-0"}, 416),
        ({"range": "bytes=1-2,4-5"}, 200),
    ],
)
def test_conditions_decide_what_is_sent(fields, status):
    assert blobs.choose_range(fields, 10, '"x"').status == status


@regression("B8", "links in answers to HTTP/1.0 without a Host")
def test_without_a_host_links_lead_to_the_servers_own_name(settings):
    settings.FLEET_HOST_NAMES, settings.FLEET_DEVICE_PORT = ["devices.example"], 8444
    scope = {"headers": [], "method": "GET", "path": "/"}
    assert _request(scope, b"").authority == "devices.example:8444"


@regression("B8", "CoAP: an Accept that is known and does not fit the resource")
def test_a_form_that_is_not_there_is_not_acceptable():
    made = Message(code=codes.GET)
    made.opt.uri_path, made.opt.accept = ("v1", "poll"), 42
    asked = mapping.convert_request(made, TransportPeer())
    assert mapping.convert_reply(asked, Reply(ResponseOutcome.OK, b"x", codec.CBOR)).code is codes.NOT_ACCEPTABLE
    made.opt.accept = 60
    asked = mapping.convert_request(made, TransportPeer())
    assert mapping.convert_reply(asked, Reply(ResponseOutcome.OK, b"x", codec.CBOR)).code is codes.CONTENT
