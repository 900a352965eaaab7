"""OSCORE (RFC 8613) against a served set-up: aiocoap's own client, and single datagrams, lost, repeated and replayed."""

import hashlib
import json
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from tests.factories.story import eventually, identity
from tests.peers.operator import offered
from tests.peers.oscore import ClientContext, Device
from tests.transports.test_open_lines import revoke

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("listeners")]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def own(story, tmp_path):
    return story.agent(f"oscore-{uuid.uuid4().hex[:6]}", tmp_path / "disk")


def provisioned(story, agent):
    status, _, body = story.call("POST", "/v1/oscore", b"{}", JSON, identity(agent))
    assert status == 200, body
    return json.loads(body)


@pytest.fixture
def material(story, own):
    return provisioned(story, own)


@pytest.fixture
def speaking(material):
    """Return how to make a device that speaks in a context."""
    opened = []

    def speak(context):
        opened.append(Device(material["port"], context))
        return opened[-1]

    yield speak
    for one in opened:
        one.close()


@pytest.fixture
def device(material, speaking):
    return speaking(context(material))


def context(material, number=0):
    return ClientContext(*(bytes.fromhex(material[one]) for one in ("ms", "salt", "client_id")), number)


def test_aiocoaps_own_client_polls_with_the_context_that_it_was_given(story, material, tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    facts = {"sender-id_hex": material["client_id"], "recipient-id_hex": material["server_id"]}
    facts |= {"secret_hex": material["ms"], "salt_hex": material["salt"], "algorithm": "AES-CCM-16-64-128"}
    (folder / "settings.json").write_text(json.dumps(facts))
    base = f"coap://localhost:{material['port']}"
    known = tmp_path / "credentials.json"
    known.write_text(json.dumps({f"{base}/*": {"oscore": {"basedir": str(folder)}}}))

    def ask(path, *arguments):
        command = [Path(sys.executable).parent / "aiocoap-client", "--credentials", known, "--quiet", *arguments]
        done = subprocess.run([*command, f"{base}{path}"], capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    assert cbor2.loads(ask("/v1/poll")) == {"next": 2}
    assert json.loads(ask("/v1/twin", "--accept", "application/json"))["config"] == {}
    # The client keeps its numbers; the file shows that they went on.
    assert json.loads((folder / "sequence.json").read_text())["next-to-send"] >= 2


def test_the_commonest_question_and_its_answer_are_short(device, own, story):
    datagram, token, request_id = device.protect(device.message(codes.GET, "/v1/poll"))
    device.send(datagram)
    inner, outer = device.answer(token, request_id)
    assert (inner.code, cbor2.loads(inner.payload)) == (codes.CONTENT, {"next": 2})
    assert len(datagram) <= 50
    assert len(device.raw) <= 40
    assert outer.code == codes.CHANGED, "what was answered is not to be seen from outside"
    assert eventually(lambda: story.rest.get(f"/devices?presence=online&q={own.settings.name}")["results"])


def test_every_resource_answers_as_over_https(story, own, device):
    answer = device.ask("/v1/twin", accept=50)
    assert answer.payload == story.call("GET", "/v1/twin", None, {"Accept": "application/json"}, identity(own))[2]
    body = cbor2.dumps({"config": {"sample_s": 5}})
    assert device.ask("/v1/twin", codes.PUT, body, content_format=60).code == codes.PRECONDITION_FAILED
    assert device.ask("/v1/nothing").code == codes.NOT_FOUND
    assert device.ask("/v1/poll", codes.PUT).code == codes.METHOD_NOT_ALLOWED
    assert device.ask("/v1/telemetry", codes.POST, b"\xff", content_format=60).code == codes.BAD_REQUEST


def test_a_long_body_goes_up_in_blocks(device):
    series = {"at": int(time.time() * 1000) - 300_000, "step": 1000, "values": [20.5] * 300}
    body = cbor2.dumps({"seq": 1, "series": {"temp_c": series}})
    count = -(-len(body) // 1024)
    assert count > 1
    for number in range(count):
        part = body[number * 1024 : (number + 1) * 1024]
        block = (number, number + 1 < count, 6)
        answer = device.ask("/v1/telemetry", codes.POST, part, content_format=60, block1=block)
        assert answer.code == (codes.CONTINUE if number + 1 < count else codes.CHANGED), answer.payload


def test_a_file_comes_in_blocks(story, tmp_path, speaking):
    agent, data = offered(story, tmp_path, "oscore-node")
    material = provisioned(story, agent)
    device, got, number = speaking(context(material)), b"", 0
    path = f"/v1/blob/{hashlib.sha256(data).hexdigest()}"
    while True:
        answer = device.ask(path, block2=(number, False, 6))
        assert answer.code == codes.CONTENT, answer.payload
        got += answer.payload
        if not answer.opt.block2.more:
            break
        number += 1
    assert got == data


def test_a_repeated_datagram_gets_the_same_answer_and_a_replayed_one_none(story, own, device, speaking):
    datagram, token, request_id = device.protect(device.message(codes.GET, "/v1/poll"))
    device.send(datagram)
    _, first = device.answer(token, request_id)
    device.send(datagram)
    assert (again := device.hear()).payload == first.payload
    assert again.mid == first.mid
    other = speaking(device.context)
    other.send(datagram)  # the same bytes from elsewhere
    assert other.hear().payload == b"Replay detected"
    # A listener writes what it has noticed once a second.
    seen = f"/devices/{own.public_id}/behaviour"
    assert eventually(lambda: story.rest.get(seen)["metrics"].get("coap_retransmits"))[-1][1] >= 1


def test_what_is_altered_or_unknown_is_refused_in_the_open_and_changes_nothing(device, speaking):
    assert device.ask("/v1/poll").code == codes.CONTENT
    datagram, *_ = device.protect(device.message(codes.GET, "/v1/poll"))
    device.send(datagram[:-1] + bytes((datagram[-1] ^ 1,)))
    assert (answer := device.hear()).payload == b"Decryption failed"
    assert answer.code == codes.BAD_REQUEST
    stranger = speaking(ClientContext(bytes(16), bytes(8), b"nobod"))
    assert stranger.ask("/v1/poll").payload == b"Security context not found"
    wrong = speaking(ClientContext(bytes(16), bytes(8), device.context.sender_id, 10**9))
    assert wrong.ask("/v1/poll").payload == b"Decryption failed"
    device.send(datagram)  # nobody's forgery used its number up
    assert device.hear().code == codes.CHANGED


@pytest.mark.parametrize(
    "garbage", [b"", b"\x40", b"\x40\x01\x00\x01\xff", b"\x50" * 40, b"\x42\x02\x00\x01ab\x91\x18"]
)
def test_garbage_hurts_nobody(device, garbage):
    device.send(garbage)
    device.send(b"\x41\x02\x00\x09t\x92\x19\x05\xff\x00")  # an option that promises more than there is
    device.reopen()
    assert device.ask("/v1/poll").code == codes.CONTENT


def test_in_the_open_there_is_the_list_of_resources_and_nothing_else(story, material):
    plain = socket.socket(type=socket.SOCK_DGRAM)
    plain.connect(("127.0.0.1", material["port"]))
    plain.settimeout(5)

    def ask(path, block=None):
        made = Message(code=codes.GET, _mtype=types.CON, _mid=7, _token=b"t")
        made.opt.uri_path = path
        made.opt.block2 = block
        plain.send(made.encode())
        raw = plain.recv(2048)
        assert len(raw) + 28 <= 3 * (len(made.encode()) + 28), "who lies about its address makes little noise"
        return Message.decode(raw)

    text, number = b"", 0
    while True:
        answer = ask((".well-known", "core"), (number, False, 6))
        text += answer.payload
        if not answer.opt.block2.more:
            break
        number += 1
    assert b'</v1/poll>;rt="muster.poll"' in text
    assert b"ace.est" not in text, "enrolment needs a handshake"
    for path in (("v1", "poll"), ("v1", "oscore"), (".well-known", "est", "crts")):
        assert ask(path).code == codes.UNAUTHORIZED
    plain.close()


def test_enrolment_and_new_contexts_are_not_to_be_had_by_a_context(device):
    for path, method in (
        ("/v1/oscore", codes.POST),
        ("/.well-known/est/crts", codes.GET),
        ("/v1/enrol/tpm", codes.POST),
    ):
        assert device.ask(path, method).code == codes.FORBIDDEN


def test_a_revoked_device_is_refused(story, own, device):
    assert device.ask("/v1/poll").code == codes.CONTENT
    revoke(story, own)
    refused = {codes.FORBIDDEN, codes.UNAUTHORIZED}
    assert eventually(lambda: device.ask("/v1/poll").code in refused, 2)


def test_an_older_context_ends_when_some_newer_ones_were_made(story, own, device):
    assert device.ask("/v1/poll").code == codes.CONTENT
    for _ in range(3):
        provisioned(story, own)
    assert device.ask("/v1/poll").code == codes.CONTENT, "the answer with the new one may have got lost"
    assert story.call("POST", "/v1/oscore", b"{}", JSON, identity(own))[0] == 429


def test_an_observer_is_told_when_something_waits(story, own, device):
    datagram, token, request_id = device.protect(device.message(codes.GET, "/v1/poll", observe=0, accept=50))
    device.send(datagram)
    inner, outer = device.answer(token, request_id)
    assert outer.opt.observe is not None
    assert json.loads(inner.payload) == {"next": 2}
    key = story.device(own.settings.name)["id"]
    story.rest.post(f"/devices/{key}/commands", {"kind": "identify", "reason": "which one is it"})
    while "command" not in json.loads(inner.payload):
        inner, outer = device.answer(token, request_id)
        assert outer.opt.oscore, "a notification has a number of its own"
    revoke(story, own)
    while inner.code == codes.CONTENT:
        inner, _ = device.answer(token, request_id)
    assert inner.code == codes.FORBIDDEN


def test_an_observation_outlives_other_requests_and_a_second_socket(story, own, device, speaking):
    datagram, token, request_id = device.protect(device.message(codes.GET, "/v1/poll", observe=0, accept=50))
    device.send(datagram)
    device.answer(token, request_id)
    other = speaking(device.context)
    for _ in range(20):
        assert device.ask("/v1/twin").code == codes.CONTENT
        assert other.ask("/v1/poll").code == codes.CONTENT
    key = story.device(own.settings.name)["id"]
    story.rest.post(f"/devices/{key}/commands", {"kind": "identify", "reason": "after many others"})
    inner, _ = device.answer(token, request_id)
    while "command" not in json.loads(inner.payload):
        inner, _ = device.answer(token, request_id)


def test_after_a_crash_a_device_is_challenged_once_and_what_was_heard_before_is_not_heard_again(story, device):
    assert device.ask("/v1/poll").code == codes.CONTENT
    heard, *_ = device.protect(device.message(codes.GET, "/v1/poll"))
    device.send(heard)
    assert device.hear().code == codes.CHANGED
    record = story.folder / "run" / "serve.json"
    before = json.loads(record.read_text())["pids"]["coap-door"]
    subprocess.run(["kill", "-9", str(before)], check=True)
    eventually(lambda: json.loads(record.read_text())["pids"]["coap-door"] != before)
    device.reopen()
    answer = eventually(lambda: said(device, heard))
    assert answer.code == codes.CHANGED, "protected: a challenge"
    datagram, token, request_id = device.protect(device.message(codes.GET, "/v1/poll"))
    device.send(datagram)
    challenge, outer = device.answer(token, request_id)
    assert (challenge.code, len(challenge.opt.echo)) == (codes.UNAUTHORIZED, 8)
    assert outer.opt.oscore, "a number of our own: an answer to what may be a replay must not share its nonce"
    again = device.message(codes.GET, "/v1/poll", echo=challenge.opt.echo)
    datagram, token, request_id = device.protect(again)
    device.send(datagram)
    assert device.answer(token, request_id)[0].code == codes.CONTENT
    device.send(heard)
    assert device.hear().payload == b"Replay detected"


def said(device, datagram):
    """Return the answer, or None while the listener is not there. A busy one acknowledges first and answers later."""
    device.send(datagram)
    try:
        outer = device.hear()
        return device.hear() if outer.code is codes.EMPTY and outer.mtype is types.ACK else outer
    except OSError:
        time.sleep(0.2)
        return None


def test_an_ordinary_restart_challenges_nobody(story, device):
    assert device.ask("/v1/poll").code == codes.CONTENT
    record = story.folder / "run" / "serve.json"
    before = json.loads(record.read_text())["pids"]["coap-door"]
    subprocess.run(["kill", str(before)], check=True)
    eventually(lambda: json.loads(record.read_text())["pids"]["coap-door"] != before)
    datagram, _, request_id = device.protect(device.message(codes.GET, "/v1/poll"))
    device.reopen()
    outer = eventually(lambda: said(device, datagram))
    assert device.opened(outer, request_id).code == codes.CONTENT


def test_no_secret_stands_in_database_journal_or_log(story, own, material):
    held = [path for name in ("db", "journal", "log", "run") for path in (story.folder / name).rglob("*")]
    for path in held:
        if path.is_file():
            data = path.read_bytes()
            assert bytes.fromhex(material["ms"]) not in data, path
            assert material["ms"].encode() not in data, path
