"""Records that come out of a buffer one after the other are sent as they are, one per datagram."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.kernel.dtls import split_records

record = st.builds(
    lambda kind, number, body: struct.pack("!BHQH", kind, 0xFEFD, number, len(body)) + body,
    st.integers(20, 23), st.integers(0, 2**64 - 1), st.binary(max_size=1300),
)  # fmt: skip


@given(st.lists(record, max_size=6), st.binary(max_size=12))
def test_a_flight_is_split_into_its_records(flight, rest):
    assert list(split_records(b"".join(flight) + rest)) == flight


@pytest.mark.parametrize("cut", [1, 20])
def test_a_record_that_is_cut_is_yielded_as_it_is(cut):
    whole = struct.pack("!BHQH", 22, 0xFEFD, 0, 40) + bytes(40)
    assert list(split_records(whole + whole[:-cut])) == [whole, whole[:-cut]]
