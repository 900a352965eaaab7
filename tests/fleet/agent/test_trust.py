"""What a device believes while every online key of its server is in an attacker's hands (rows of the attack table)."""

from datetime import timedelta

import pytest

from fleet.agent.errors import RefusedError, TransportError
from fleet.agent.state import State
from pki.kernel import clock
from tests.fleet.agent.adversary import DEVICE, HARDWARE, IMAGE, Adversary, _signer, entry


@pytest.fixture
def adversary(tmp_path):
    made = Adversary(tmp_path / "server")
    yield made
    made.close()


@pytest.fixture
def ask(adversary, tmp_path):
    """Return what the device does when it asks for its assignment."""
    folder = tmp_path / "device"
    folder.mkdir(mode=0o700)

    def once():
        trust, line = adversary.trust(folder)
        try:
            return trust.assignment(DEVICE)
        finally:
            line.close()

    return once


def test_what_officers_signed_and_the_director_assigned_is_taken(ask):
    found = ask()
    assert (found.action, found.component, found.length, found.counter) == (7, "app", len(IMAGE), 3)


def test_without_an_assignment_nothing_is_installed(adversary, ask):
    adversary.direct(rows=[])
    assert ask() is None


def refused(ask, words):
    with pytest.raises(RefusedError, match=words):
        ask()


def test_an_image_that_people_never_signed_is_refused(adversary, ask):
    adversary.direct(rows=[{**adversary.row, "target": "app/evil/9.9.9/evil.bin"}])
    refused(ask, "never signed by the release officers")


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"length": 1}])
def test_a_director_that_tells_other_bytes_than_people_signed_is_refused(adversary, ask, change):
    adversary.direct(rows=[{**adversary.row, **change}])
    refused(ask, "differ about")


def test_a_signed_image_for_other_hardware_is_refused(adversary, ask):
    adversary.release(entry(hw=["another class"]), ("anna", "bruno"), version=3)
    refused(ask, "other hardware")
    adversary.direct(rows=[{**adversary.row, "hw": "another class"}])
    refused(ask, "other hardware")


@pytest.mark.parametrize("audience", [["lab"], ["lab", "canary"], [], None])
def test_an_image_that_is_signed_for_others_is_refused(adversary, ask, audience):
    adversary.release(entry(audience=audience), ("anna", "bruno"), version=3)
    refused(ask, "not signed for production")


@pytest.mark.parametrize("change", [{"component": "boot"}, {"counter": 99}])
def test_a_director_that_moves_an_image_elsewhere_is_refused(adversary, ask, change):
    adversary.direct(rows=[{**adversary.row, **change}])
    refused(ask, "another component or counter")


@pytest.mark.parametrize("officers", [(), ("anna",), ("anna", "anna")])
def test_targets_of_fewer_than_two_officers_are_refused(adversary, ask, officers):
    adversary.release(entry(), officers, version=3)
    refused(ask, "not to be believed")


def test_a_director_signed_by_another_key_is_refused(adversary, ask):
    adversary.direct(signer=_signer())
    refused(ask, "not signed by the key that the root names")
    adversary.direct(signer=adversary.online["timestamp"])
    refused(ask, "not signed by the key that the root names")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "another"}, "another device"),
        ({"nonce": "00" * 16}, "not the answer to this request"),
        ({"version": 0}, "older than one seen before"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expired"),
        ({"_type": "time"}, "another device"),
        ({"assignments": [{}]}, "malformed"),
        ({"assignments": "all"}, "malformed"),
        ({"version": "2"}, "malformed"),
    ],
)
def test_a_director_document_that_is_not_fresh_and_ours_is_refused(adversary, ask, change, words):
    adversary.direct(**change)
    refused(ask, words)


def test_a_replayed_director_document_is_refused(adversary, ask):
    ask()
    adversary.version = 0
    refused(ask, "older than one seen before")


def test_older_metadata_is_refused_once_newer_was_seen(adversary, ask):
    old = dict(adversary.routes)
    adversary.release(entry(), ("anna", "bruno"), version=3)
    ask()
    adversary.routes.update({name: old[name] for name in old if "metadata" in name})
    refused(ask, "not to be believed")


def test_stolen_keys_cannot_bring_older_targets_back(adversary, ask):
    adversary.release(entry(), ("anna", "bruno"), version=3)
    ask()
    adversary.publish(4, 4, names=2)
    refused(ask, "not to be believed")


def test_an_expired_timestamp_is_refused(adversary, ask):
    adversary.publish(2, 3, timestamp_at=clock.now() - timedelta(days=2))
    refused(ask, "not to be believed|expired")


def test_a_clock_set_back_does_not_bring_expired_documents_to_life(adversary, ask, tmp_path):
    ask()
    state = State(tmp_path / "device")
    state.put(signed_time=(clock.now() + timedelta(days=30)).isoformat())
    refused(ask, "expired")


def test_a_timestamp_of_a_megabyte_is_not_read(adversary, ask):
    adversary.routes["/v1/metadata/timestamp.json"] = b"{" + b" " * 1_000_000
    with pytest.raises((RefusedError, TransportError)):
        ask()


def test_a_document_nested_without_end_is_refused(adversary, ask):
    adversary.routes["/v1/director"] = lambda handler, _: handler.whole(b"[" * 10_000)
    refused(ask, "malformed")


def test_a_refusal_leaves_what_was_believed_as_it_was(adversary, ask):
    ask()
    adversary.direct(rows=[{**adversary.row, "hw": "another class"}])
    refused(ask, "other hardware")
    adversary.direct()
    assert ask().action == 7
    assert adversary.row["hw"] == HARDWARE
