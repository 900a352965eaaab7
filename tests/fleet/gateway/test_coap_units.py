"""What the CoAP door does with odd messages, without a network."""

import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from OpenSSL import SSL

from fleet.gateway.coap import association, links, mapping
from fleet.gateway.coap.association import Association, State
from fleet.gateway.protocol import Outcome, Peer, Reply
from pki.kernel.errors import InvalidError

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


@pytest.mark.parametrize("code", [codes.DELETE, codes.FETCH, codes.PATCH])
def test_other_methods_are_refused(code):
    with pytest.raises(InvalidError, match="GET, POST or PUT"):
        mapping.request(message(code), PEER)


def test_an_unknown_content_format_is_refused():
    with pytest.raises(InvalidError, match="content format 999"):
        mapping.request(message(codes.POST, content_format=999), PEER)


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
