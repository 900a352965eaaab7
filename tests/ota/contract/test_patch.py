"""The patch applier: exact, and nothing but a refusal for anything that is damaged or hostile."""

import random
import time

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ota.contract import patch
from ota.deltas import streams
from pki.kernel.errors import InvalidError
from tests import mutations
from tests.factories.artefacts import noise

OLD = noise(30_000, 1)
NEW = OLD[:10_000] + b"inserted" * 40 + OLD[12_000:20_000] + bytes((one + 1) & 0xFF for one in OLD[20_000:])


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (b"", NEW), (OLD, OLD), (OLD, b"x"), (b"x", OLD), (b"", b"")])
def test_a_patch_yields_the_very_image(old, new):
    made = streams.make_patch(old, new)
    assert patch.apply_patch(old, made, len(new)) == new


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 400))
def test_whatever_the_images_are(one, other, at):
    old, new = one + other, one[:at] + other + one[at:]
    assert patch.apply_patch(old, streams.make_patch(old, new), len(new)) == new


def test_it_is_much_smaller_than_what_it_yields():
    assert len(streams.make_patch(OLD, NEW)) < len(NEW) // 20


@pytest.mark.parametrize("length", [0, 1, len(NEW) - 1, len(NEW) + 1, 10**12])
def test_another_length_than_was_signed_is_refused(length):
    with pytest.raises(InvalidError):
        patch.apply_patch(OLD, streams.make_patch(OLD, NEW), length)


def bomb(head, body=b""):
    data = cbor2.dumps(head)
    return patch.MAGIC + len(data).to_bytes(4, "little") + data + body


def zeros(size):
    import lzma

    return lzma.compress(bytes(size), lzma.FORMAT_RAW, filters=[{**patch.lzma_filters(93)[0]}])


@pytest.mark.parametrize(
    "data",
    [b"", b"MSP1", b"MSP1\xff\xff\xff\xff", bomb([1, 0, []]), bomb([5, 0, [[0, 10**15, 0, 0]] * 5]), bomb([5, 1, [[9, 0, 0, 0]] * 6]),
     bomb([5, 0, [[1, 10**7, 3000, 93]] + [[0, 0, 0, 0]] * 4], zeros(10**7)), bomb("x"), bomb([5, 0, [[1, 0, 0, 10**6]] * 5]),
     bomb([5, 0, [[0, 1, 1, 0]] * 3 + [[0, 0, 0, 0]] * 2], b"\x80\x80\x80"), bomb([5, 0, [[0, 1, 1, 0]] * 3 + [[0, 0, 0, 0]] * 2], b"\x05\x00\x00"),
     bomb([cbor2.CBORTag(4, [10**6, 10**6]), 0, [[0, 0, 0, 0]] * 5]), bomb(cbor2.CBORTag(4, [99**99, 1])),
     bomb([5, 0, [[0, 9000, 9000, 0]] + [[0, 9000, 9000, 0]] * 2 + [[0, 0, 0, 0]] * 2], bytes(27_000)),
     bomb([2**70, 0, [[0, 0, 0, 0]] * 5]), bomb([[], 0, [[0, 0, 0, 0]] * 5])],
)  # fmt: skip
def test_what_is_no_patch_is_refused_soon_and_without_much_memory(data):
    began = time.monotonic()
    with pytest.raises(InvalidError):
        patch.apply_patch(b"base", data, 5)
    assert time.monotonic() - began < 2


def test_mutated_patches_yield_nothing_but_the_image_or_a_refusal():
    source, good = random.Random(3), streams.make_patch(OLD, NEW)
    for _ in range(1000):
        data = mutations.mutated(source, good)
        try:
            result = patch.apply_patch(OLD, data, len(NEW))
        except InvalidError:
            continue
        assert len(result) == len(NEW)
