"""Which bytes are one whole idle poll: only those that the protocol would answer in the same way."""

import pytest

from fleet.gateway import codec
from fleet.gateway.poll_matcher import DEVICE_POLLS

LINE = b"GET /v1/poll HTTP/1.1\r\n"


def match(*fields, line=LINE, end=b"\r\n"):
    return DEVICE_POLLS.match_poll(line + b"".join(field + b"\r\n" for field in fields) + end)


def test_a_poll_of_a_plain_client_names_its_host_and_gets_the_usual_form():
    assert match(b"Host: fleet.example") == ("fleet.example", codec.CBOR)


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        (b"fleet.example:8443", "fleet.example"),
        (b" \tFleet.Example\t ", "Fleet.Example"),
        (b"192.0.2.7:8443", "192.0.2.7"),
        (b"[2001:db8::1]:8443", "2001:db8::1"),
    ],
)
def test_a_host_is_read_without_port_and_brackets(sent, host):
    assert match(b"Host:" + sent) == (host, codec.CBOR)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"*/*", codec.CBOR),
        (b"application/cbor", codec.CBOR),
        (b"application/json", codec.JSON),
        (b"Application/JSON", codec.JSON),
    ],
)
def test_the_form_is_the_one_that_is_accepted(accept, form):
    assert match(b"Host: x", b"Accept: " + accept) == ("x", form)


def test_fields_that_every_client_sends_change_nothing():
    fields = (b"User-Agent: curl/7.88", b"ACCEPT-ENCODING: gzip", b"accept-language: de", b"host: x")
    assert match(*fields) == ("x", codec.CBOR)


@pytest.mark.parametrize(
    "line",
    [
        b"POST /v1/poll HTTP/1.1\r\n",
        b"HEAD /v1/poll HTTP/1.1\r\n",
        b"get /v1/poll HTTP/1.1\r\n",
        b"GET /v1/poll HTTP/1.0\r\n",
        b"GET /v1/poll?x=1 HTTP/1.1\r\n",
        b"GET /v1/polls HTTP/1.1\r\n",
        b"GET //v1/poll HTTP/1.1\r\n",
        b"GET  /v1/poll HTTP/1.1\r\n",
        b"GET /v1/poll HTTP/1.1\n",
        b"\r\nGET /v1/poll HTTP/1.1\r\n",
    ],
)
def test_any_other_request_line_goes_the_ordinary_way(line):
    assert match(b"Host: x", line=line) is None


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"Accept: */*",),
        (b"Host:",),
        (b"Host: \t",),
        (b"Host: x", b"Host: y"),
        (b"Host: x", b"host: x"),
        (b"Host: x", b"Accept: text/html"),
        (b"Host: x", b"Accept: application/json, */*"),
        (b"Host: x", b"Connection: close"),
        (b"Host: x", b"Content-Length: 0"),
        (b"Host: x", b"Transfer-Encoding: chunked"),
        (b"Host: x", b"Expect: 100-continue"),
        (b"Host: x", b"Accept : */*"),
        (b"Host: x", b"User-Agent: a", b" folded"),
        (b"Host: x", b"User-Agent"),
        (b"Host: \xc3\xa4",),
        (b"Host: x", b"User-Agent: a\nConnection: close"),
        (b"Host: x", b"User-Agent: a\rb"),
    ],
)
def test_a_head_that_could_change_the_answer_goes_the_ordinary_way(fields):
    assert match(*fields) is None


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n", b"\r\nGET", b"\r\n" + LINE + b"Host: x\r\n\r\n"])
def test_half_a_poll_and_more_than_one_go_the_ordinary_way(end):
    assert match(b"Host: x", end=end) is None


@pytest.mark.parametrize(("longer", "matched"), [(0, True), (1, False)])
def test_a_poll_has_at_most_the_length_that_is_looked_at(longer, matched):
    fixed = len(LINE + b"Host: x\r\nUser-Agent: \r\n\r\n")
    agent = b"a" * (DEVICE_POLLS.longest - fixed + longer)
    assert (match(b"Host: x", b"User-Agent: " + agent) is not None) is matched
