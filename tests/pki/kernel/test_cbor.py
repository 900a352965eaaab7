from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.kernel import cbor
from pki.kernel.errors import InvalidError

#: a NUL is no text here: no database holds one
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
numbers = st.integers(-(2**63), 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.binary(max_size=40) | st.text(letters, max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(letters, max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_what_is_written_is_read_back(value):
    assert cbor.loads(cbor.dumps(value), max_bytes=100_000, max_depth=20) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_never_break_the_reader(data):
    with suppress(InvalidError):
        cbor.loads(data, max_bytes=200)


@given(plain)
def test_whatever_is_accepted_means_the_same_to_the_library(value):
    data = cbor2.dumps(value)
    assert cbor.loads(data, max_bytes=100_000, max_depth=20) == cbor2.loads(data)


def test_strings_and_maps_of_indefinite_length_are_read():
    assert cbor.loads(bytes.fromhex("bf61617f61626163ff61629f0102ffff"), max_bytes=99) == {"a": "bc", "b": [1, 2]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("d8235f612b", "a tag: a pattern"),
        ("c249010000000000000000", "a tag: a big number"),
        ("d81c81d81d00", "tags: a list that holds itself"),
        ("a2616101616102", "a key twice"),
        ("a10102", "a key that is no text"),
        ("bf6161ff", "a map that ends after a key"),
        ("7f4161ff", "a text made of bytes"),
        ("81", "truncated"),
        ("9affffffff", "four thousand million items that do not follow"),
        ("5b7fffffffffffffff", "an endless string"),
        ("f7", "undefined"),
        ("1c", "a reserved length"),
        ("0000", "two values"),
        ("61ff", "text that is not UTF-8"),
        ("", "nothing"),
        ("81" * 9 + "00", "nine lists in each other"),
    ],
)
def test_doubtful_input_is_refused(data, why):
    with pytest.raises(InvalidError):
        cbor.loads(bytes.fromhex(data), max_bytes=99)


def test_input_above_the_limit_is_not_looked_at():
    with pytest.raises(InvalidError, match="the maximum is 4"):
        cbor.loads(b"\xff" * 5, max_bytes=4)


@pytest.mark.parametrize("value", ["a\0b", {"a\0": 1}, ["x", {"k": "\0"}]])
def test_a_nul_is_no_text(value):
    with pytest.raises(InvalidError, match=r"U\+0000"):
        cbor.loads(cbor2.dumps(value), max_bytes=100)
