"""What the CoAP listener does with odd messages, without a network."""

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from OpenSSL import SSL

from fleet.gateway.coap import association, links, mapping, options
from fleet.gateway.coap.association import Association, HandshakeState
from fleet.gateway.protocol import Reply, ResponseOutcome, TransportPeer
from fleet.wire import limits
from pki.kernel.errors import InvalidError
from tests.regressions import regression

PEER = TransportPeer("f" * 64, b"der", "192.0.2.1")


def message(code=codes.GET, path=("v1", "poll"), **options):
    made = Message(code=code, payload=options.pop("payload", b""))
    made.opt.uri_path = path
    for name, value in options.items():
        setattr(made.opt, name, value)
    return made


@pytest.mark.parametrize("path", [("v1", "a/b"), ("v1", ""), ("..", "etc"), ("v1", ".")])
def test_a_segment_never_becomes_another_path(path):
    with pytest.raises(InvalidError, match="path segment"):
        mapping.convert_request(message(path=path), PEER)


@regression("B8", "CoAP: methods, Accept, Content-Format, critical options and query options that nobody knows")
@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda: message(codes.DELETE), codes.METHOD_NOT_ALLOWED),
        (lambda: message(codes.FETCH), codes.METHOD_NOT_ALLOWED),
        (lambda: message(codes.PATCH), codes.METHOD_NOT_ALLOWED),
        (lambda: message(codes.POST, content_format=999), codes.UNSUPPORTED_CONTENT_FORMAT),
        (lambda: message(accept=999), codes.NOT_ACCEPTABLE),
        (lambda: message(proxy_uri="coap://elsewhere/"), codes.PROXYING_NOT_SUPPORTED),
        (lambda: _with_option(65001), codes.BAD_OPTION),
        (lambda: message(uri_query=("a=1",) * (limits.MOST_QUERY + 1)), codes.BAD_REQUEST),
    ],
)
def test_what_coap_has_a_code_for_gets_it(made, code):
    with pytest.raises(mapping.CoapRefusalError) as refused:
        mapping.convert_request(made(), PEER)
    assert refused.value.code is code


POLL = [(11, b"v1"), (11, b"poll")]


def sent(*options):
    """Return the bytes of a GET with these options, in the order of their numbers."""
    data, last = b"", 0
    for number, value in sorted(options, key=lambda option: option[0]):
        head = [part_of(number - last), part_of(len(value))]
        data += bytes((head[0][0] << 4 | head[1][0],)) + head[0][1] + head[1][1] + value
        last = number
    return data


def part_of(number):
    return (number, b"") if number < 13 else (13, bytes((number - 13,)))


@regression("B8", "CoAP: critical options that come twice, or longer or shorter than they may be; If-None-Match")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([(3, b"a.example"), (3, b"b.example")], "Uri-Host"),
        ([(3, b"")], "Uri-Host"),
        ([(7, b"\x01"), (7, b"\x02")], "Uri-Port"),
        ([(7, b"\x01\x02\x03")], "Uri-Port"),
        ([(17, b"\x3c"), (17, b"\x32")], "Accept"),
        ([(17, b"\x00\x00\x3c")], "Accept"),
        ([(23, b"\x06"), (23, b"\x16")], "Block2"),
        ([(23, b"\x00\x00\x00\x06")], "Block2"),
        ([(27, b"\x06"), (27, b"\x06")], "Block1"),
        ([(5, b"")], "If-None-Match"),
        ([(1, b"123456789")], "If-Match"),
    ],
)
def test_a_critical_option_that_may_not_be_so_is_refused_by_both_readers(given, name):
    data = sent(*POLL, *given)
    assert options.read_poll_options(data) is None, "the fast path leaves it to the ordinary way"
    with pytest.raises(mapping.CoapRefusalError, match=name) as refused:
        mapping.convert_request(Message.decode(b"\x40\x01\x00\x01" + data), PEER)
    assert refused.value.code is codes.BAD_OPTION


@regression("B8", "CoAP: elective options that come twice or are too long are passed over")
def test_of_elective_options_the_first_that_fits_counts():
    data = sent(*POLL, (12, b"\x00\x00\x32"), (12, b"\x3c"), (12, b"\x32"), (4, b"123456789"), (4, b"12345678"))
    found = mapping.convert_request(Message.decode(b"\x40\x01\x00\x01" + data), PEER)
    assert found.headers["content-type"] == "application/cbor"
    assert found.headers["if-none-match"].count(",") == 0


def test_an_unknown_elective_option_is_passed_over():
    assert mapping.convert_request(_with_option(65000), PEER).path == "/v1/poll"


def _with_option(number):
    made = message()
    made.opt.add_option(OptionNumber(number).create_option(value=b"x"))
    return made


def test_host_query_and_formats_arrive():
    made = mapping.convert_request(
        message(codes.POST, content_format=60, accept=50, uri_host="a.example", uri_query=("x=1", "y")), PEER
    )
    assert (made.method, made.path, made.host, made.query) == ("POST", "/v1/poll", "a.example", {"x": "1", "y": ""})
    assert made.headers == {"content-type": "application/cbor", "accept": "application/json"}
    assert made.peer is PEER


def test_every_outcome_has_a_code_and_who_has_to_wait_is_told_how_long():
    asked = mapping.convert_request(message(), PEER)
    for outcome in ResponseOutcome:
        answer = mapping.convert_reply(asked, Reply(outcome))
        assert answer.code.is_successful() == (outcome.value < 400 and outcome is not ResponseOutcome.ACCEPTED)
    late = mapping.convert_reply(asked, Reply(ResponseOutcome.LIMITED, b"later", "text/plain", {"retry-after": "7"}))
    assert (late.code, late.opt.max_age) == (codes.TOO_MANY_REQUESTS, 7)


def test_links_are_filtered_by_their_resource_type():
    assert links.find_links("ace.est.sen") == '</.well-known/est/sen>;rt="ace.est.sen";ct="281 287"'
    assert links.find_links("") == links.LINKS
    assert links.find_links("ace.est.*").count("</") == links.LINKS.count("ace.est.")
    assert links.find_links("nothing") == ""
    assert links.find_links("ace.est.*", in_oscore=True) == ""
    assert "/v1/oscore" not in links.find_links("", in_oscore=True)


def test_junk_closes_nothing_but_its_own_association():
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    association.set_cookies(b"secret", context)
    for junk in (b"", b"\x16", bytes(13), b"\x16\xfe\xfd" + bytes(100), b"\xff" * 1400):
        one = Association(context, b"address")
        assert one.receive(junk) == []
        assert one.state in {HandshakeState.LISTENING, HandshakeState.CLOSED}
        assert not association.begins_association(junk)
