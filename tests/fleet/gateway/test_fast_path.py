"""The CoAP fast path: byte for byte what aiocoap would say, for two questions only; nothing breaks it."""

import hashlib
import time

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes, types
from hypothesis import given
from hypothesis import strategies as st

from fleet.gateway.coap import options
from fleet.gateway.coap.fast import FastPath
from fleet.gateway.poll_cache import Answers, PollCache
from ota.services.downloads import Download

KEY = b"k" * 32


@pytest.fixture(scope="module")
def fast():
    table = PollCache()
    now = int(time.time())
    table.put((KEY, 7, 1, now - 10, now + 3600))
    table.reached_by({"": 1, "muster.example": 1, "other.example": 2})
    return FastPath(table, Answers())


def asked(path="/v1/poll", code=codes.GET, mtype=types.CON, token=b"tok", **given):
    made = Message(code=code, _mtype=mtype, _mid=4711, _token=token)
    made.opt.uri_path = path.strip("/").split("/")
    for name, value in given.items():
        setattr(made.opt, name, value)
    return made.encode()


@pytest.mark.parametrize("mtype", [types.CON, types.NON])
def test_an_idle_poll_is_answered_as_a_coap_library_reads_it(fast, mtype):
    answer = Message.decode(fast.answer(asked(mtype=mtype), KEY, "192.0.2.1"))
    assert answer.code == codes.CONTENT
    assert answer.token == b"tok"
    assert answer.opt.content_format == 60
    assert cbor2.loads(answer.payload)["next"] > 0
    assert answer.mtype == (types.ACK if mtype is types.CON else types.NON)
    assert (answer.mid == 4711) == (mtype is types.CON)


@pytest.mark.parametrize(
    "message",
    [
        asked("/v1/poll/x"),
        asked("/v1/Poll"),
        asked(code=codes.POST),
        asked(observe=0),
        asked(accept=50),
        asked(uri_query=["a=b"]),
        asked(uri_host="other.example"),
        asked() + b"\xffpayload",
        asked(mtype=types.RST),
        b"",
        b"\x40",
        b"\x4f\x01\x00\x01" + b"t" * 15,
        asked()[:-1],
    ],
)
def test_anything_else_goes_the_ordinary_way(fast, message):
    assert fast.answer(message, KEY, "192.0.2.1") is None


@pytest.mark.parametrize("length", [9, 12, 15])
def test_a_token_longer_than_any_may_be_is_not_answered(fast, length):
    whole = asked(token=b"")
    assert fast.answer(whole, KEY, "") is not None
    odd = bytes([whole[0] | length]) + whole[1:4] + b"t" * length + whole[4:]
    assert fast.answer(odd, KEY, "") is None


def test_a_stranger_goes_the_ordinary_way(fast):
    assert fast.answer(asked(), b"s" * 32, "192.0.2.1") is None


def test_the_host_may_be_named(fast):
    assert fast.answer(asked(uri_host="muster.example", accept=60), KEY, "192.0.2.1") is not None


@pytest.fixture
def file(tmp_path):
    data = bytes(range(256)) * 10 + b"end"
    (tmp_path / "blob").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return data, Download(tmp_path / "blob", len(data), digest, "", "blob")


@pytest.mark.parametrize("exponent", [0, 4, 6])
def test_an_allowed_file_comes_in_blocks_and_is_whole(fast, file, exponent):
    data, download = file
    fast.allow(KEY.hex(), download)
    path, found, number = f"/v1/blob/{download.sha256}", b"", 0
    while True:
        answer = Message.decode(fast.answer(asked(path, block2=(number, False, exponent)), KEY, ""))
        assert answer.opt.etag == bytes.fromhex(download.sha256)[:8]
        assert answer.opt.content_format == 42
        assert (answer.opt.size2 == len(data)) == (number == 0)
        found += answer.payload
        assert answer.opt.block2.block_number == number
        if not answer.opt.block2.more:
            break
        number += 1
    assert found == data
    assert fast.answer(asked(path, block2=(number + 1, False, exponent)), KEY, "") is None


def test_a_file_is_given_to_whom_it_was_allowed_and_no_longer_than_that(fast, file, monkeypatch):
    _, download = file
    fast.allow(KEY.hex(), download)
    path = f"/v1/blob/{download.sha256}"
    assert fast.answer(asked(path), b"s" * 32, "") is None
    fast.forget({KEY.hex()})
    assert fast.answer(asked(path), KEY, "") is None
    fast.allow(KEY.hex(), download)
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert fast.answer(asked(path), KEY, "") is None


@given(st.binary(max_size=400))
def test_no_bytes_break_it(fast, message):
    answer = fast.answer(message, KEY, "")
    assert answer is None or Message.decode(answer).code == codes.CONTENT


@given(st.binary(max_size=100))
def test_options_are_read_as_a_coap_library_reads_them(data):
    """Whatever we read, aiocoap reads the same; we may refuse more than it does."""
    mine = options.read_poll_options(data)
    if mine is None:
        return
    try:
        theirs = Message.decode(b"\x40\x01\x00\x01" + data)
    except UnicodeDecodeError:  # a path that is no text: ours compares bytes, and knows no such path
        return
    assert theirs.payload == b""
    assert [one.encode() for one in theirs.opt.uri_path] == list(mine.path)
