"""What is kept of bodies and answers in blocks: a little for each peer, and no more than so much for all."""

import pytest

from fleet.gateway.coap import spool
from fleet.gateway.coap.spool import Spool


def key(peer, number):
    return (("address", peer), "POST", number)


def test_a_peer_that_begins_more_than_it_may_loses_what_it_began_first():
    held = Spool()
    held[key("other", 0)] = "theirs"
    for number in range(spool.MOST_OF_ONE + 1):
        held[key("one", number)] = number
    with pytest.raises(KeyError):
        held[key("one", 0)]
    assert held[key("one", spool.MOST_OF_ONE)] == spool.MOST_OF_ONE
    assert held[key("other", 0)] == "theirs"


def test_all_together_have_a_limit(monkeypatch):
    monkeypatch.setattr(spool, "MOST", 10)
    held = Spool()
    for number in range(50):
        held[key(f"peer-{number}", 0)] = number
    assert len(held) == 10
    assert len(held._of) == 10
    assert held[key("peer-49", 0)] == 49


def test_what_is_old_goes_and_what_is_used_stays(monkeypatch):
    held, now = Spool(), [0.0]
    monkeypatch.setattr(spool.time, "monotonic", lambda: now[0])
    held[key("a", 0)], held[key("b", 0)] = "a", "b"
    now[0] = spool.KEPT_SECONDS - 1
    assert held[key("a", 0)] == "a"
    now[0] = spool.KEPT_SECONDS + 1
    held[key("c", 0)] = "c"
    assert held[key("a", 0)] == "a"
    with pytest.raises(KeyError):
        held[key("b", 0)]
