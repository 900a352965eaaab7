"""New destinations: known to the kin is no news, new to all is."""

from devices.drift.novelty import MOST_KEYS, Novelty

LAN, WAN = "tcp:443:lan", "tcp:4444:wan"


def test_what_is_seen_while_learning_is_known():
    novelty = Novelty()
    assert novelty.see(1, "node", frozenset({LAN}), learning=True) == []
    assert novelty.see(1, "node", frozenset({LAN}), learning=False) == []


def test_what_the_kin_uses_is_learned_at_once():
    novelty = Novelty()
    novelty.see(1, "node", frozenset({LAN}), learning=True)
    assert novelty.see(2, "node", frozenset({LAN}), learning=False) == []


def test_what_nobody_of_its_kind_used_stays_strange_until_a_person_accepts_it():
    novelty = Novelty()
    novelty.see(1, "node", frozenset({LAN}), learning=True)
    assert novelty.see(1, "node", frozenset({LAN, WAN}), learning=False) == [WAN]
    assert novelty.see(1, "node", frozenset({WAN}), learning=False) == [WAN]
    novelty.accept(1, [WAN])
    assert novelty.see(1, "node", frozenset({WAN}), learning=False) == []


def test_a_full_set_forgets_what_was_used_longest_ago():
    novelty = Novelty()
    for port in range(MOST_KEYS + 1):
        novelty.see(1, "node", frozenset({f"tcp:{port}:lan"}), learning=True)
    assert "tcp:0:lan" not in novelty.devices[1]
    assert len(novelty.devices[1]) == MOST_KEYS


def test_the_state_survives_storage():
    novelty = Novelty()
    novelty.see(1, "node", frozenset({LAN}), learning=True)
    assert Novelty.of(novelty.plain()).see(1, "node", frozenset({LAN}), learning=False) == []
