"""What the agent makes of a context that a server in wrong hands gives, and of answers that are not for it."""

import json
import time

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types

from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.oscore import AHEAD, Context, OscoreTransport, Session, StoredContext, UnusableError
from fleet.agent.transport import ServerAnswer
from pki.kernel import files

GOOD = {
    "alg": 10,
    "hkdf": -10,
    "ms": bytes(16),
    "salt": bytes(8),
    "client_id": b"12345",
    "server_id": b"",
    "port": 5683,
}


class Shown:
    """A line on which a server gives whatever it likes for a context."""

    def __init__(self, body):
        self.body, self.closed = body, False

    def call(self, *_asked):
        return ServerAnswer(200, self.body, {})

    def close(self):
        self.closed = True


def transport(folder, line):
    chain = folder / "chain.pem"
    chain.write_bytes(b"a certificate")
    return OscoreTransport("https://127.0.0.1:1", (chain, chain), folder, lambda: line)


@pytest.mark.parametrize(
    "changes",
    [{"ms": 10**10}, {"ms": "text"}, {"salt": None}, {"client_id": 7}, {"client_id": bytes(40)}, {"port": 0},
     {"port": 1 << 16}, {"port": "x"}, {"port": -1}],
)  # fmt: skip
def test_a_context_that_makes_no_sense_is_refused_and_not_kept(tmp_path, changes):
    line = Shown(cbor2.dumps({**GOOD, **changes}))
    began = time.monotonic()
    with pytest.raises(RefusedError, match="OSCORE context is malformed"):
        transport(tmp_path, line)._open()
    assert time.monotonic() - began < 2
    assert line.closed
    assert not (tmp_path / "oscore.json").exists()


@pytest.mark.parametrize("body", [b"", b"\xff", cbor2.dumps([]), cbor2.dumps({}), cbor2.dumps(7), b"\xa1" * 600])
def test_garbage_is_refused(tmp_path, body):
    with pytest.raises(RefusedError):
        transport(tmp_path, Shown(body))._open()


@pytest.fixture
def session():
    return Session(Context(bytes(16), bytes(8), b"12345"))


def asked(token=b"tokn"):
    made = Message(code=codes.GET, _mtype=types.CON, _mid=7, _token=token)
    made.opt.uri_path = ("v1", "poll")
    return made.encode()


def test_the_same_message_is_the_same_datagram_and_another_one_never_has_its_number(session):
    first = session.protected(asked())
    assert session.protected(asked()) == first
    # An acknowledgement in between, of a notification for one, changes nothing about it.
    acknowledged = Message(code=codes.EMPTY, _mtype=types.ACK, _mid=9).encode()
    assert session.protected(acknowledged) == acknowledged
    assert session.protected(asked()) == first
    numbers = {session.context.sender_sequence_number}
    for number in range(40):
        session.protected(asked(bytes((number, 0, 0, 1))))
        numbers.add(session.context.sender_sequence_number)
    assert len(numbers) == 41
    assert len(session._asked) <= 8


def test_what_nobody_asked_for_or_nobody_signed_is_passed_over(session):
    session.protected(asked())
    for data in (b"", b"\xff" * 20, b"\x64\x45\x00\x07othr\xff1", asked()):
        assert session.opened(data) is None
    forged = Message(code=codes.CHANGED, _mtype=types.ACK, _mid=7, _token=b"tokn", payload=b"x" * 20)
    forged.opt.oscore = b""
    assert session.opened(forged.encode()) is None


@pytest.mark.parametrize("option", [b"\x20", b"\x21\x01", b"\x30", b"\x08", b"\x1f", b"\xff" * 9, b"\x09\x14"])
def test_whatever_option_a_stranger_sends_ends_nothing(session, option):
    session.protected(asked())
    odd = Message(code=codes.CHANGED, _mtype=types.ACK, _mid=7, _token=b"tokn", payload=b"x" * 40)
    odd.opt.oscore = option
    assert session.opened(odd.encode()) is None


def kept(folder, **changes):
    path = folder / "oscore.json"
    facts = {"ms": "00" * 16, "salt": "00" * 8, "client_id": "0102030405", "port": 5683, "certificate": "", "next": 0}
    if not path.exists():
        path.write_text(json.dumps(facts | changes))
    return StoredContext(path, json.loads(path.read_text()))


def test_a_number_that_could_not_be_written_is_never_used(tmp_path, monkeypatch):
    context = kept(tmp_path)
    used = {context.new_sequence_number() for _ in range(AHEAD)}
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_private", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        for _ in range(3):
            with pytest.raises(OSError, match="no space"):
                context.new_sequence_number()
    used.add(context.new_sequence_number())
    again = kept(tmp_path)
    assert again.new_sequence_number() not in used


def test_two_processes_on_one_disk_never_use_the_same_number(tmp_path):
    one, other = kept(tmp_path), kept(tmp_path)
    used = [who.new_sequence_number() for _ in range(3 * AHEAD) for who in (one, other)]
    assert len(used) == len(set(used))


def test_a_context_that_another_process_has_replaced_is_not_written_over(tmp_path):
    context = kept(tmp_path)
    path = tmp_path / "oscore.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "client_id": "0505050505"}))
    with pytest.raises(TransportError, match="newer OSCORE context"):
        context.new_sequence_number()
    assert json.loads(path.read_text())["client_id"] == "0505050505"


def test_who_says_in_the_open_that_all_is_well_is_not_believed_and_who_knows_no_context_is_heard(session):
    session.protected(asked())
    fine = Message(code=codes.CONTENT, _mtype=types.ACK, _mid=7, _token=b"tokn", payload=b"all is well")
    assert session.opened(fine.encode()) is None
    lost = Message(code=codes.UNAUTHORIZED, _mtype=types.ACK, _mid=7, _token=b"tokn")
    with pytest.raises(UnusableError):
        session.opened(lost.encode())
