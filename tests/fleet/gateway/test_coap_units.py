"""What the CoAP door does with odd messages, without a network."""

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber
from OpenSSL import SSL

from fleet.gateway.coap import association, links, mapping
from fleet.gateway.coap.association import Association, State
from fleet.gateway.protocol import Outcome, Peer, Reply
from fleet.wire import limits
from pki.kernel.errors import InvalidError
from tests.regressions import regression

PEER = Peer("f" * 64, b"der", "192.0.2.1")


def message(code=codes.GET, path=("v1", "poll"), **options):
    made = Message(code=code, payload=options.pop("payload", b""))
    made.opt.uri_path = path
    for name, value in options.items():
        setattr(made.opt, name, value)
    return made


@pytest.mark.parametrize("path", [("v1", "a/b"), ("v1", ""), ("..", "etc"), ("v1", ".")])
def test_a_segment_never_becomes_another_path(path):
    with pytest.raises(InvalidError, match="path segment"):
        mapping.request(message(path=path), PEER)


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
        mapping.request(made(), PEER)
    assert refused.value.code is code


def test_an_unknown_elective_option_is_passed_over():
    assert mapping.request(_with_option(65000), PEER).path == "/v1/poll"


def _with_option(number):
    made = message()
    made.opt.add_option(OptionNumber(number).create_option(value=b"x"))
    return made


def test_host_query_and_formats_arrive():
    made = mapping.request(
        message(codes.POST, content_format=60, accept=50, uri_host="a.example", uri_query=("x=1", "y")), PEER
    )
    assert (made.method, made.path, made.host, made.query) == ("POST", "/v1/poll", "a.example", {"x": "1", "y": ""})
    assert made.headers == {"content-type": "application/cbor", "accept": "application/json"}
    assert made.peer is PEER


def test_every_outcome_has_a_code_and_who_has_to_wait_is_told_how_long():
    asked = mapping.request(message(), PEER)
    for outcome in Outcome:
        answer = mapping.response(asked, Reply(outcome))
        assert answer.code.is_successful() == (outcome.value < 400 and outcome is not Outcome.ACCEPTED)
    late = mapping.response(asked, Reply(Outcome.LIMITED, b"later", "text/plain", {"retry-after": "7"}))
    assert (late.code, late.opt.max_age) == (codes.TOO_MANY_REQUESTS, 7)


def test_links_are_filtered_by_their_resource_type():
    assert links.links("ace.est.sen") == '</.well-known/est/sen>;rt="ace.est.sen";ct="281 287"'
    assert links.links("") == links.LINKS
    assert links.links("ace.est.*").count("</") == links.LINKS.count("ace.est.")
    assert links.links("nothing") == ""
    assert links.links("ace.est.*", in_oscore=True) == ""
    assert "/v1/oscore" not in links.links("", in_oscore=True)


def test_junk_closes_nothing_but_its_own_association():
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    association.cookies(b"secret", context)
    for junk in (b"", b"\x16", bytes(13), b"\x16\xfe\xfd" + bytes(100), b"\xff" * 1400):
        one = Association(context, b"address")
        assert one.receive(junk) == []
        assert one.state in {State.LISTENING, State.CLOSED}
        assert not association.begins(junk)
