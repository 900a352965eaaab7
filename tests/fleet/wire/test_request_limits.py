"""How much one connection may ask, without a connection: what is counted, and when it is too much."""

import pytest

from fleet.wire import limits
from fleet.wire.heads import WRONG_VERSION
from fleet.wire.request_limits import LONG_HEAD, LONG_TARGET, THIN_CHUNKS, RequestLimits

LINE = b"GET / HTTP/1.1\r\n"


@pytest.fixture
def counted():
    return RequestLimits()


def part(counted, data, *, begins=False, fresh=False):
    """Let a part of a head come."""
    counted.data_came(len(data))
    if begins:
        counted.request_began()
    return counted.head_came(data, begun=not begins, fresh=fresh)


def body(counted, *pieces, extra):
    """Let a body come in pieces, each with so many bytes of framing; return whether one was refused."""
    counted.request_began()
    counted.head_ended()
    for size in pieces:
        counted.data_came(size + extra)
        counted.body_came(size)
        if refusal := counted.framing_refusal():
            return refusal
    return None


def test_a_head_may_come_in_parts_up_to_its_limit(counted):
    assert part(counted, LINE, begins=True, fresh=True) is None
    assert part(counted, b"x" * (limits.MOST_HEAD - len(LINE))) is None
    assert part(counted, b"x") == LONG_HEAD


def test_a_head_that_ends_is_counted_no_more(counted):
    assert part(counted, LINE + b"x" * (limits.MOST_HEAD - len(LINE)), begins=True, fresh=True) is None
    counted.head_ended()
    assert part(counted, LINE + b"x" * (limits.MOST_HEAD - len(LINE)), begins=True, fresh=True) is None


def test_a_head_behind_the_end_of_another_request_is_counted_from_the_next_data_on(counted):
    long = b"x" * limits.MOST_HEAD
    assert part(counted, b"the end of a body" + long, begins=True) is None
    assert part(counted, long) is None
    assert part(counted, b"x") == LONG_HEAD


def test_of_two_heads_in_one_piece_the_second_is_counted_from_the_next_data_on(counted):
    data = LINE + b"Host: x\r\n\r\n" + LINE
    counted.data_came(len(data))
    counted.request_began()
    counted.head_ended()
    counted.request_began()
    assert counted.head_came(data, begun=False, fresh=True) is None
    assert part(counted, b"x" * limits.MOST_HEAD) is None
    assert part(counted, b"x") == LONG_HEAD


@pytest.mark.parametrize(("data", "refusal"), [(b"GET /\r\n", WRONG_VERSION), (b"GET /", None), (LINE, None)])
def test_a_first_line_without_a_version_is_refused_at_its_end(counted, data, refusal):
    assert part(counted, data, begins=True, fresh=True) == refusal


def test_a_target_is_as_long_as_a_line_may_be(counted):
    assert counted.target_refusal(limits.MOST_LINE) is None
    assert counted.target_refusal(limits.MOST_LINE + 1) == LONG_TARGET


def test_fields_are_counted_for_each_request(counted):
    for _ in range(2):
        counted.request_began()
        assert [counted.field_came() for _ in range(limits.MOST_FIELDS)] == [None] * limits.MOST_FIELDS
    assert counted.field_came() == LONG_HEAD


def test_a_whole_head_is_measured_with_what_stands_between_its_fields(counted):
    target, fields = b"/", [(b"a", b"b" * 95)] * 100
    rest = limits.MOST_HEAD - 100 * 100
    assert counted.size_refusal(b"/" * rest, fields) is None
    assert counted.size_refusal(b"/" * (rest + 1), fields) == LONG_HEAD
    assert counted.size_refusal(target, [(b"a", b"b" * (limits.MOST_HEAD - 6))]) is None
    assert counted.size_refusal(target, [(b"a", b"b" * (limits.MOST_HEAD - 5))]) == LONG_HEAD


def test_so_many_requests_wait_and_no_more(counted):
    assert not counted.is_crowded(limits.MOST_PIPELINED - 1)
    assert counted.is_crowded(limits.MOST_PIPELINED)


def test_chunks_of_one_byte_are_a_body(counted):
    assert body(counted, *[1] * 10_000, extra=5) is None


def test_chunks_with_long_extensions_are_none(counted):
    assert body(counted, *[1] * 10_000, extra=100) == THIN_CHUNKS


def test_each_body_has_its_own_framing(counted):
    for _ in range(5):
        assert body(counted, 1, extra=limits.FRAMING // 2) is None
        counted.body_ended()
    assert body(counted, 0, extra=limits.FRAMING + 1) == THIN_CHUNKS


def test_some_of_a_refused_request_is_read_away_and_not_all(counted):
    assert not counted.is_flooded(limits.LINGER_BYTES)
    assert counted.is_flooded(1)
