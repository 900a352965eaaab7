import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.kernel import canonical
from pki.kernel.errors import InvalidError

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_reads_back_and_writes_the_same_bytes(value):
    data = canonical.dumps(value)
    again = canonical.loads(data, max_bytes=1 << 20, max_depth=64)
    assert again == value
    assert canonical.dumps(again) == data


@given(values)
def test_order_of_keys_does_not_matter(value):
    shuffled = json.loads(json.dumps(value))
    assert canonical.dumps(shuffled) == canonical.dumps(value)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":1.0}', "integer"),
        (b'{"a":NaN}', "integer"),
        (b'{"a":', "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 20 + b"]" * 20, "nested"),
        (b'"' + b"x" * 100 + b'"', "bytes"),
    ],
)
def test_what_is_ambiguous_is_refused_with_its_reason(data, word):
    with pytest.raises(InvalidError, match=word):
        canonical.loads(data, max_bytes=64)


def test_brackets_inside_strings_are_not_depth():
    assert canonical.loads(b'["[[[[\\"[[["]', max_bytes=64, max_depth=1) == ['[[[["[[[']


@pytest.mark.parametrize("data", [b"[[1]]", b'["[[[",[{}]]', b'{"a":[],"b":[[]]}', b'["[","[",[[[]]]]'])
def test_depth_is_what_is_open_at_once(data):
    deepest = {b"[[1]]": 2, b'["[[[",[{}]]': 3, b'{"a":[],"b":[[]]}': 3, b'["[","[",[[[]]]]': 4}[data]
    canonical.loads(data, max_bytes=64, max_depth=deepest)
    with pytest.raises(InvalidError, match="nested"):
        canonical.loads(data, max_bytes=64, max_depth=deepest - 1)


@pytest.mark.parametrize("value", [1.5, {"a": [0.1]}, {1: 2}])
def test_what_has_no_canonical_form_is_not_written(value):
    with pytest.raises(InvalidError):
        canonical.dumps(value)
