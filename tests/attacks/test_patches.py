"""Rows D1 to D3: a thief's patches. The slot is left alone, and the image itself decides, as people signed it."""

import hashlib
import lzma

import cbor2
import pytest

from ota.contract import patch
from ota.deltas import streams
from tests.attacks.conftest import OLD
from tests.attacks.table import attack
from tests.fleet.agent.adversary import IMAGE


def offers(thief, data, base=OLD, **changes):
    """Name a patch beside the assigned image, and serve it."""
    digest = hashlib.sha256(data).hexdigest()
    based = hashlib.sha256(base).hexdigest() if base else ""
    thief.routes[f"/v1/blob/{digest}"] = data
    named = {"format": patch.FORMAT, "base": based, "length": len(data), "sha256": digest, **changes}
    thief.direct(rows=[{**thief.row, "delta": named}])
    thief.routes.pop(f"/v1/blob/{thief.row['sha256']}", None)
    return f"/v1/blob/{digest}"


@pytest.fixture
def left_alone(victim, caplog):
    """Return a check that nothing was installed, nothing lies in the other slot, and why the patch was of no use."""
    caplog.set_level("WARNING", logger="muster.agent")

    def check(words):
        caplog.clear()
        _left_alone(victim)
        causes = [one.cause for one in caplog.records if "patch" in one.message]
        assert causes
        assert words in causes[0], causes

    return check


def _left_alone(victim):
    said, _ = victim.tries()
    assert said in {"downloading", "unreachable"}
    assert victim.installed == OLD
    assert not victim.slots("app").inactive.exists()


@pytest.mark.parametrize("base", [OLD, b""])
def test_the_honest_patch_is_taken(thief, victim, base):
    offers(thief, streams.make_patch(base, IMAGE), base)
    assert victim.tries() == ("confirmed", "")
    assert victim.installed == IMAGE
    assert victim.told[-1]["patch"] == {"format": patch.FORMAT, "trouble": ""}


def bomb():
    """Return a patch of some kilobytes that would become a gigabyte."""
    size = 1 << 30
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{**patch.lzma_filters(93)[0], "preset": 0}])
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    head = cbor2.dumps([len(IMAGE), 0, [[1, size, len(body), 93]] + [[0, 0, 0, 0]] * 4])
    return patch.MAGIC + len(head).to_bytes(4, "little") + head + body


@attack("D1")
@pytest.mark.parametrize("made", [bomb, lambda: streams.make_patch(OLD, IMAGE + b"more" * 20_000)])
def test_a_patch_that_becomes_more_than_was_signed(thief, left_alone, made):
    offers(thief, made())
    left_alone("damaged or does not match this image")


@attack("D1")
def test_a_patch_longer_than_it_was_named(thief, left_alone):
    data = streams.make_patch(OLD, IMAGE)
    path = offers(thief, data)
    thief.routes[path] = data + bytes(100_000)
    left_alone("does not match its digest")


@attack("D2")
def test_a_patch_for_another_image(thief, left_alone):
    offers(thief, streams.make_patch(OLD[::-1], IMAGE), OLD[::-1])
    left_alone("for another image than the current one")
    offers(thief, streams.make_patch(OLD[::-1], IMAGE), OLD)
    left_alone("the patched image is not the signed one")


@attack("D3")
@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:90] + bytes([data[90] ^ 4]) + data[91:]])
def test_a_patch_that_is_cut_or_damaged(thief, left_alone, spoil):
    data = streams.make_patch(OLD, IMAGE[:-500] + bytes(range(250)) * 2)
    offers(thief, spoil(data))
    left_alone("damaged or does not match this image")


@attack("D3")
def test_a_patch_that_yields_an_image_of_the_thiefs(thief, left_alone):
    evil = IMAGE[:-1] + b"?"
    offers(thief, streams.make_patch(OLD, evil))
    left_alone("the patched image is not the signed one")


@attack("D3")
def test_a_damaged_patch_does_not_stop_an_update(thief, victim):
    offers(thief, streams.make_patch(OLD, IMAGE)[:-5])
    thief.serve(IMAGE)
    assert victim.tries() == ("confirmed", "")
    assert "does not match this image" in victim.told[-1]["patch"]["trouble"], (
        "the server hears that its patch was of no use"
    )


def test_of_a_patch_that_did_not_come_nothing_is_said(thief, victim):
    path = offers(thief, streams.make_patch(OLD, IMAGE))
    thief.routes.pop(path)
    thief.serve(IMAGE)
    assert victim.tries() == ("confirmed", "")
    assert "patch" not in victim.told[-1]


@pytest.mark.parametrize(
    "delta", [1, {}, {"format": "muster-1"}, {"format": "other", "base": "", "length": 1, "sha256": "a" * 64}]
)
def test_a_row_whose_patch_is_none_means_the_image(thief, victim, delta):
    thief.direct(rows=[{**thief.row, "delta": delta}])
    assert victim.tries() == ("confirmed", "")
