"""Networks take turns, and the one that holds most makes room."""

import random

from fleet.wire.fair_queue import FairQueue


def filled(*pairs):
    queue = FairQueue()
    for network, item in pairs:
        queue.add(network, item)
    return queue


def emptied(queue):
    taken = []
    while (item := queue.take()) is not None:
        taken.append(item)
    return taken


def test_networks_take_turns():
    queue = filled(("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2"))
    assert emptied(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_many_networks_are_served_in_their_order():
    assert emptied(filled(*((str(number), number) for number in range(1000)))) == list(range(1000))


def test_the_network_that_holds_most_makes_room():
    queue = filled(("a", "a1"), ("b", "b1"), ("b", "b2"), ("c", "c1"))
    assert queue.make_room(newest=True) == "b2"
    assert [queue.make_room(newest=True) for _ in range(4)] == ["b1", "c1", "a1", None], "of equals, the last to be so"


def test_the_oldest_makes_room_where_waiting_is_the_fault():
    assert filled(("a", "a1"), ("a", "a2"), ("b", "b1")).make_room(newest=False) == "a1"


def test_what_was_removed_is_not_taken():
    queue = filled(("a", "a1"), ("b", "b1"))
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("z", "a1")
    assert (len(queue), emptied(queue), len(queue)) == (1, ["b1"], 0)


def test_it_agrees_with_a_plain_list_after_any_operations():
    chance = random.Random(7)
    for _ in range(200):
        queue, plain = FairQueue(), []
        for step in range(60):
            act = chance.random()
            if act < 0.5:
                pair = (chance.choice("abcd"), step)
                queue.add(*pair)
                plain.append(pair)
            elif act < 0.65:
                taken = queue.take()
                plain = [one for one in plain if one[1] != taken]
            elif act < 0.8 and plain:
                gone = plain.pop(chance.randrange(len(plain)))
                assert queue.remove(*gone)
            elif plain:
                sizes = {network: sum(one[0] == network for one in plain) for network, _ in plain}
                left = queue.make_room(newest=True)
                network = next(one[0] for one in plain if one[1] == left)
                assert sizes[network] == max(sizes.values())
                assert left == max(one[1] for one in plain if one[0] == network)
                plain = [one for one in plain if one[1] != left]
            assert len(queue) == len(plain)
        assert sorted(emptied(queue)) == sorted(one[1] for one in plain)
