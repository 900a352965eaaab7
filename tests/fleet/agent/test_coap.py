"""What a device takes from a server over CoAP has an end, whatever the server sends."""

import threading
import time

import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from fleet.agent import coap, coap_exchange
from fleet.agent.coap import CoapTransport
from fleet.agent.errors import TransportError
from tests.regressions import regression


class Line:
    """An open association on which a server answers each request, and goes on each tenth of a second.

    Args:
        says: returns what comes next for a request.
    """

    def __init__(self, says):
        self._says, self._asked = says, None

    def send(self, data):
        message = Message.decode(data)
        if message.code.is_request():
            self._asked = message

    def receive(self, until):
        threading.Event().wait(min(0.1, max(until - time.monotonic(), 0)))
        return self._says(self._asked).encode() if time.monotonic() < until else None

    def close(self):
        pass


def asking(says, tmp_path):
    made = CoapTransport("coaps://127.0.0.1:5684", tmp_path, (tmp_path, tmp_path))
    made._line = Line(says)
    made._open = lambda: made._line or Line(says)
    return made


def acknowledgement(request):
    return Message(code=codes.EMPTY, _mtype=types.ACK, _mid=request.mid)


def request_of_the_server(_request):
    return Message(code=codes.GET, _mtype=types.CON, _mid=1, _token=b"x")


@regression("R13", "CoAP: empty acknowledgements, or requests of the server, without end")
@pytest.mark.parametrize("says", [acknowledgement, request_of_the_server])
def test_an_answer_has_one_deadline_however_often_it_is_acknowledged(says, tmp_path, monkeypatch):
    monkeypatch.setattr(coap_exchange, "ACK_SECONDS", 0.2)
    monkeypatch.setattr(coap_exchange, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(coap_exchange, "EXCHANGE_SECONDS", 1.5)
    began = time.monotonic()
    with pytest.raises(TransportError, match="does not answer"):
        asking(says, tmp_path).call("GET", "/v1/poll")
    assert time.monotonic() - began < 2 * 1.5 + 2  # once more over a new association


def test_an_acknowledged_request_is_given_time_for_its_response(tmp_path, monkeypatch):
    monkeypatch.setattr(coap_exchange, "ACK_SECONDS", 0.2)
    said = []

    def says(request):
        said.append(request.mid)
        if len(said) < 15:
            return acknowledgement(request)
        return Message(code=codes.CONTENT, _mtype=types.NON, _mid=9, _token=request.token, payload=b"late")

    assert asking(says, tmp_path).call("GET", "/v1/poll").body == b"late"
    assert len(set(said)) == 1


@regression("R13", "CoAP: each block of an upload acknowledged as late as possible")
def test_an_upload_in_blocks_has_a_deadline_on_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(coap, "body_deadline", lambda _length: time.monotonic() + 1.0)

    def says(request):
        return Message(code=codes.CONTINUE, _mtype=types.ACK, _mid=request.mid, _token=request.token)

    with pytest.raises(TransportError, match="takes too long"):
        asking(says, tmp_path).call("POST", "/v1/log", b"x" * 40_000)
