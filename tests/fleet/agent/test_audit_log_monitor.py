"""A device remembers the server's ledger: a server that tells two stories is refused by whoever heard the first."""

import pytest

from fleet.agent.errors import RefusedError
from pki.kernel import canonical
from tests.fleet.agent.adversary import DEVICE


@pytest.fixture
def shown(adversary, tmp_path):
    """Return a function that lets the server show a head to one device, which remembers."""
    trust, line = adversary.trust(tmp_path / "disk")

    def show(epoch, size, root, signer=None, changes=None):
        head = {"_type": "head", "domain": "default", "epoch": epoch, "size": size, "root": root, "at": "2026-01-01"}
        by = signer or adversary.online["ledger"]
        sig = by.sign(canonical.dumps(head)).signature
        adversary.direct(head={**head, "keyid": by.public_key.keyid, "sig": sig, **(changes or {})})
        trust.assignment(DEVICE)
        return trust._state.get("ledger_head")

    yield show
    line.close()


def test_the_newest_head_is_kept(shown):
    assert shown(0, 5, "a" * 64) == [0, 5, "a" * 64]
    assert shown(0, 9, "b" * 64) == [0, 9, "b" * 64]
    assert shown(0, 7, "c" * 64) == [0, 9, "b" * 64]
    assert shown(1, 6, "d" * 64) == [1, 6, "d" * 64]


def test_another_history_of_the_same_size_is_refused(shown):
    shown(0, 5, "a" * 64)
    with pytest.raises(RefusedError, match="is inconsistent"):
        shown(0, 5, "b" * 64)


def test_an_epoch_that_ended_does_not_come_back(shown):
    shown(1, 5, "a" * 64)
    with pytest.raises(RefusedError, match="is inconsistent"):
        shown(0, 50, "b" * 64)


def test_a_head_that_the_ledgers_key_did_not_sign_is_refused(shown):
    with pytest.raises(RefusedError, match="not signed by a key"):
        shown(0, 5, "a" * 64, changes={"root": "b" * 64})


@pytest.mark.parametrize("wrong", [{"size": "5"}, {"root": "x"}, {"epoch": None}, {"_type": "tree"}, {"sig": "zz"}])
def test_a_malformed_head_is_refused(shown, wrong):
    with pytest.raises(RefusedError, match="malformed"):
        shown(0, 5, "a" * 64, changes=wrong)


def test_a_head_by_a_key_that_the_root_does_not_name_is_passed_over(shown, adversary):
    assert shown(0, 5, "a" * 64, signer=adversary.online["director"]) is None
